"""A run over several processes: coordinator, bot workers, collected seconds, summary.

Imports `bots`, `shapes`, `results`, `audit`, `model` and gevent; never Locust or Flask.
Open `coordinator.py` first, then `collector.py`.
"""

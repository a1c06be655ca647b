"""A run over several processes: coordinator, workers, collected seconds, summary.

Imports `bots`, `shapes`, `results`, `audit` and `model`; never Locust.
Open `coordinator.py` first, then `collector.py`.
"""

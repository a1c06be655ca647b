"""Data of a run: the plan, the stages of load shapes, histograms, metric names, the schema of results, units.

`bottleneck.py` decides whether the generator was the bottleneck.
Imports nothing else of the swarm; never Locust, gevent or a socket.
Open `plan.py` first, then `schema.py`.
"""

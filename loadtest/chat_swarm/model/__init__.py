"""What is planned and measured: plan, stages, schema of results, histograms, units.

Imports nothing else of the swarm.
Open `plan.py` first, then `schema.py`.
"""

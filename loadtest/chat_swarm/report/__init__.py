"""Reports of a run: an HTML page with plots and tables, a terminal summary, a comparison table.

Imports `model` and `results`.
Open `html.py` first.
"""

"""A run as a page and as a summary for the terminal: plots, tables, comparison.

Imports `model` and `results`.
Open `html.py` first.
"""

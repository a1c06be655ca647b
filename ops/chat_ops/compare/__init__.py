"""Figures by name, and the bounds that a comparison must keep.

Imports `log`, `stats` and `queries`.
Open `metric_refs.py` first.
"""

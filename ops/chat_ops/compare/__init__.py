"""Named metrics of a log, and the bounds that a comparison must keep.

Imports `log`, `stats` and `table`.
Open `metric_refs.py` first.
"""

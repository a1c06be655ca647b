"""Questions that several reports ask of the log: trouble, peak sessions, floods.

Imports `log`, `stats` and `table`.
Open `trouble.py` first.
"""

"""Queries that several reports share: trouble, peak sessions, floods.

Imports `log`, `stats` and `table`.
Open `trouble.py` first.
"""

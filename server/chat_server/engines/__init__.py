"""Storage engines: where messages exist. One engine is chosen by URL.

Imports `core/ports` and `core/delivery/batch`; never `net` or `observability`.
Open `factory.py` first.
"""

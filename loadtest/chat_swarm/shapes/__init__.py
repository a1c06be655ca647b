"""Load shapes as plain logic: timed stages, and the search for the capacity.

Imports `model` only.
Open `run_control.py` first.
"""

"""What every command of Greenroom shares: streams, output files, environment variables, optional packages.

Imports nothing of ours, so any package may use it.
Open `streams.py` first.
"""

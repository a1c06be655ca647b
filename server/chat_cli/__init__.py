"""What every command of Greenroom shares: streams, output files, environment variables, optional packages.

Imports nothing of ours, so any package may use it.
Open `streams.py` first.
"""

__version__ = "0.1.0"
"""The version of Greenroom: pyproject.toml reads it here. `importlib.metadata` would cost a start 20 ms."""

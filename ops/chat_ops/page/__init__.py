"""The page of `chat-logs report`: its data, tables and plots; its scripts and styles beside.

Imports `reports`, `stats` and `output`.
Open `command.py` first.
"""

"""The HTML page of `chat-logs report`: data, tables and plots, with the scripts and styles.

Imports `reports`, `stats` and `output`.
Open `command.py` first.
"""

"""Settings: the table of all settings, and how flags, environment and a TOML file are read.

Imports nothing of ours but `chat_protocol`; a new setting is one row in `table.py` and no change elsewhere
here. Open `table.py` first.
"""

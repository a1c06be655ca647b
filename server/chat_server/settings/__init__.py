"""Settings: the table of them, and how flags, environment and a TOML file are read.

Imports nothing of ours but `chat_protocol`.
Open `table.py` first.
"""

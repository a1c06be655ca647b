"""Settings: the table of all settings, and how flags, environment and a TOML file are read.

Imports nothing of ours but `chat_cli`, `chat_protocol` and the version. A new setting is one row in
`table.py`.
Open `table.py` first.
"""

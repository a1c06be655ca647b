"""Options from the command line and the environment, default names, the state folder, signals, exit codes.

Imports `chat_cli`, `chat_protocol` and the client's `address` and `errors`.
Open `settings.py` first.
"""

"""What the command line and the environment say: server, name, exit codes.

Imports `chat_protocol` and the client's `address` and `errors`.
Open `settings.py` first.
"""

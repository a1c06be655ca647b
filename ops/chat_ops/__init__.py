"""Log analysis for Greenroom: reports from the server's event log.

Imports nothing of ours but `chat_cli` and `chat_server.vocabulary`.
Open `cli.py` first.
"""

"""The bots of one process: connection, session, sender, profiles, and what they share.

Imports `loop`, `model`, `audit`, `chat_protocol`; `churn.py` alone the client library.
Open `bot_process.py` first, then `session.py`.
"""

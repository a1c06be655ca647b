"""The bots of one process: connection, session, sender, profiles, and what they share.

Imports `loop`, `model`, `audit`, `chat_protocol`; never Locust. `churn.py` alone imports the client library
and gevent. Open `bot_process.py` first, then `session.py`.
"""

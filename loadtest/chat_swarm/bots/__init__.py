"""The bots of one process: connection, session, sender, profiles, and what they share.

`bot_process.py` reports each second whether this process was the bottleneck (`model/bottleneck.py`).

Imports `loop`, `model`, `audit`, `chat_protocol`; never Locust. `churn.py` alone imports `chat_client` and
gevent. Open `bot_process.py` first, then `session.py`.
"""

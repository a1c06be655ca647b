"""The bots of one process, which judges in each second whether it was the bottleneck (`bot_process.py`).

Connection, session, sender, profiles, and what they share. `model/bottleneck.py` has the limits.
Imports `loop`, `model`, `audit`, `chat_protocol`; never Locust. `churn.py` alone imports `chat_client` and
gevent. Open `bot_process.py` first, then `session.py`.
"""

"""Plain building blocks of the client: backoff, pacing, RTT samples, paged lists.

Imports `chat_protocol` only.
Open `backoff.py` first.
"""

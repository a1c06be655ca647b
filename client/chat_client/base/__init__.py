"""Building blocks of the client, without I/O: backoff, pacing, RTT samples, paged lists.

Imports `chat_protocol` only.
Open `backoff.py` first.
"""

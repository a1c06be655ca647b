"""Building blocks of the client, without I/O: backoff, pacing, RTT samples, paged lists.

Imports `errors.py` and `chat_protocol` only.
Open `backoff.py` first.
"""

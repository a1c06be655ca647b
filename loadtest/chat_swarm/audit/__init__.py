"""The audit: every seq received once, in order, the same message for all receivers and processes.

Imports `model` and `chat_protocol.events`; never sockets, clocks or bots: it works on seqs, senders, counters
and digests.
Open `process_audit.py` first, then `room_log.py`.
"""

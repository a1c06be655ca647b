"""The audit: every seq received once, in order, the same message for all receivers and processes.

Imports `model` only; never sockets, clocks or bots: it works on seqs, senders and counters.
Open `process_audit.py` first, then `room_log.py`.
"""

"""The audit: every seq received once, in order, the same for all receivers and processes.

Imports `model` only.
Open `process_audit.py` first, then `room_log.py`.
"""

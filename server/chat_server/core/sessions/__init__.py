"""Sessions: one peer's state over all its connections, resumable sessions, pings and deadlines.

Imports `core/ports`, `core/base` and `chat_protocol`.
Open `session.py` first.
"""

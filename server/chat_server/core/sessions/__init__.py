"""Sessions: state of a user over all its connections, cursors, resumable sessions, heartbeat.

Imports `core/base`, `core/ports` and `chat_protocol`, and types of `core/delivery`.
Open `session.py` first.
"""

"""Sessions: a client over all its connections, its memberships and cursors, resumable sessions, heartbeat.

Imports `core/identity`, `core/base`, `core/ports` and `chat_protocol`.
Open `session.py` first, then `lifecycle.py` and `membership.py`.
"""

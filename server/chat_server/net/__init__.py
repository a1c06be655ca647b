"""Network layer: accepts connections, reads each in a greenlet of its own, writes without blocking.

Imports `core` and `chat_protocol`; never `engines`, `jobs` or `observability`.
Open `listener.py` first.
"""

"""What the chat consists of: the hub, conversations of two, presence, resuming a session.

Imports `core/delivery`, `core/names` and below.
Open `hub.py` first.
"""

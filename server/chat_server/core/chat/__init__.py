"""The chat: hub, conversations, presence, resuming a session.

Imports `core/delivery`, `core/names`, `core/sessions` and below.
Open `hub.py` first.
"""

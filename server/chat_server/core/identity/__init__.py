"""Identities: the authors of messages, over all their sessions; and what a session may do.

Imports `chat_protocol` only.
Open `identity.py` first, then `permissions.py`.
"""

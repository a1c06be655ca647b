"""Identities: who speaks, over all its sessions; and what an identity may do.

Imports `chat_protocol` only.
Open `identity.py` first.
"""

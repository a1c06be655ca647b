"""The chat: hub, public rooms, conversations, presence, resuming a session.

Imports `core/delivery`, `core/names`, `core/sessions`, `core/identity`, `core/ports`, `core/base` and
`chat_protocol`.
Open `hub.py` first.
"""

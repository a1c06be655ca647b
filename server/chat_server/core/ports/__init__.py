"""What the core needs from the world, as protocols and rows: clock, link and outbox, store.

Imports `chat_protocol` only.
Open `link.py` first.
"""

"""Text for people: messages and notices as lines, sanitized for terminals, long text split.

Imports `chat_protocol` and the client's `events` only.
Open `render.py` first.
"""

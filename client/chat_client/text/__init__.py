"""Text for people: rendering of messages and notices, sanitizing for terminals, splitting of long text.

Imports `chat_protocol` and the client's `events` only.
Open `render.py` first.
"""

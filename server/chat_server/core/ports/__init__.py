"""The ports of the core, and the rows that pass through them: clock, link and outbox, store.

Imports `chat_protocol`, and types of `core/sessions` and `core/delivery`.
Open `link.py` first.
"""

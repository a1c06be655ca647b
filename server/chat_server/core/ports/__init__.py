"""The ports of the core, and the rows that pass through them: clock, link and outbox, log, registry.

Imports `chat_protocol` only.
Open `link.py` first, then `log.py`.
"""

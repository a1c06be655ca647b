"""The path of a message inside the core: queue, batch, room, and backfill of lagging sessions.

Imports `core/sessions`, `core/identity`, `core/base`, `core/ports` and `chat_protocol`.
Open `ingest.py` first, then `committer.py`, `publisher.py` and `room.py`.
"""

"""The path of a message inside the core: queue, batch, room, and backfill of lagging sessions.

Imports `core/sessions` and below.
Open `ingest.py` first, then `room.py`.
"""

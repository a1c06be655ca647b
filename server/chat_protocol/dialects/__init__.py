"""The dialects of a connection: detection from the first bytes, and a codec for each.

Imports `framing`, `commands`, `events`, `errors`, `names`, `characters`, `message_text` and `sentences`, and
nothing else of ours.
Open `base.py` first (what a codec is), then `ndjson.py`.
"""

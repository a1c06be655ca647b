"""The dialects that a connection may speak: detection, and a codec for each.

Imports the rest of `chat_protocol` and nothing else of ours.
Open `base.py` (what a codec is) first, then `ndjson.py`.
"""

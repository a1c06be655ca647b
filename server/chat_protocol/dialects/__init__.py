"""The dialects of a connection: detection from the first bytes, and a codec for each.

Imports the rest of `chat_protocol` and nothing else of ours.
Open `base.py` first (what a codec is), then `ndjson.py`.
"""

"""The dialects of a connection: detection from the first bytes, and a codec for each.

Imports the rest of `chat_protocol` and nothing else of ours.
Open `base.py` (the codec protocol) first, then `ndjson.py`.
"""

"""Values and small data structures of the core: limits, token buckets, statistics, transition tables.

Imports `chat_protocol` only.
Open `limits.py` first.
"""

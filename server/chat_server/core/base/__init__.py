"""Values and small data structures of the core: limits, token buckets, statistics, pages of lists.

Imports `chat_protocol` only.
Open `limits.py` first.
"""

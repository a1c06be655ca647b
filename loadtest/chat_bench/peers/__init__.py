"""The systems that are measured beside Greenroom: their commands, configuration, protocols, and floors in C.

Imports `process.py` of `chat_bench`, and `chat_protocol`. Open `systems.py` first, then `protocols.py`.
"""

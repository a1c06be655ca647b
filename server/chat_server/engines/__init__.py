"""Storage engines: the message log and the registry of sessions and rooms. `--store` chooses one by URL.

Imports `core/ports`, `chat_protocol` and `settings`; never `net` or `observability`.
Open `factory.py` first.
"""

"""Storage engines: the message log and the registry of sessions and rooms. `--store` chooses one by URL.

Imports `core/ports`, `chat_protocol` and `settings`, and nothing else of the server.
Open `engine.py` first, then `factory.py`.
"""

"""The operator's console: the server's terminal as a session in the lobby.

Imports `core`, `chat_protocol`, `vocabulary` and `observability/event_log.py`; never `net` or `engines`.
Open `console.py` first.
"""

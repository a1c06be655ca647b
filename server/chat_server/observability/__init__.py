"""What the server reports about itself: event log, loop watchdog, counts of rejected connections, metrics.

Imports `core`, `net` (for its counters), `settings`, `vocabulary` and `chat_protocol`; never changes anything
in them.
Open `log_reporter.py` first.
"""

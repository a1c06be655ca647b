"""What the server reports about itself: event log, loop watchdog, counts of rejected connections, metrics.

Imports `core`, `net` (for its counters), `settings` and the vocabulary; never changes anything in them.
Open `log_reporter.py` first.
"""

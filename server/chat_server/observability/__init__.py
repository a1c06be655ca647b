"""What the server reports about itself: the event log, the loop watchdog, counters of rejections.

Imports `core`, `net` counters and the vocabulary; decides nothing.
Open `log_reporter.py` first.
"""

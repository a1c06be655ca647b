"""The event loop of a bot process: one epoll, one timer heap, kernel receive timestamps.

Imports nothing of ours; never gevent, never the protocol: it knows file descriptors, timers and clocks only.
Open `event_loop.py` first.
"""

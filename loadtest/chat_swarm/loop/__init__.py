"""The event loop of a bot process: one epoll, a timer heap, kernel receive timestamps.

Imports nothing of ours.
Open `event_loop.py` first.
"""

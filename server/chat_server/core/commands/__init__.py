"""Commands: the router, and one file of handlers per family of commands.

A handler takes the hub, the session and the command. Imports `core/chat` and below.
Open `router.py` first, then `messages.py`.
"""

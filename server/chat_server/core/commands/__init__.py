"""Commands: the router, and one file of handlers per family of commands.

A handler takes the hub, the session and the command.
Imports `core/chat`, `core/delivery`, `core/sessions`, `core/identity`, `core/ports`, `core/base` and
`chat_protocol`.
Open `router.py` first, then `messages.py`.
"""

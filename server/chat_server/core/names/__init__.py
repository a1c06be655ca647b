"""Names of users and rooms: the directory of users, and confusable names (UTS #39).

Imports `core/identity`, `core/base`, `core/ports` and `chat_protocol`.
Open `directory.py` first.
"""

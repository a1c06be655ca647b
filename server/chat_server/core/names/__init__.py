"""Names of users and rooms: the directory of users, and confusable names (UTS #39).

Imports `core/base`, `core/ports` and `chat_protocol`, and the type `Session` of `core/sessions`.
Open `directory.py` first.
"""

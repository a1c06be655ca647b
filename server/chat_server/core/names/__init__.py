"""Names: the directory of taken names, and which names look alike (UTS #39).

Imports `core/ports`, `core/base` and `chat_protocol`.
Open `directory.py` first.
"""

"""The operator's console: the person at the server's terminal, as a member of the lobby.

Imports `core`; never `net` or `engines`.
Open `console.py` first.
"""

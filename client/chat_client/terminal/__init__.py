"""The interactive client: prompt, screen, list of open rooms and conversations, typed commands.

Imports `client`, `text` and `options`; prompt_toolkit is imported only here.
Open `app.py` first.
"""

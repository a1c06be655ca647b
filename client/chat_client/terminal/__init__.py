"""The interactive client: prompt, screen, conversation list, typed commands.

Imports `client`, `text` and `options`; prompt_toolkit is imported only here.
Open `app.py` first.
"""

"""The interactive client: prompt, screen, list of open rooms and conversations, typed commands.

Imports `client` and its `errors`, `events` and `address`, `text`, `options`, `base`, the type `Pending` of
`connection`, `chat_cli` and `chat_protocol`; prompt_toolkit is imported only here.
Open `app.py` first.
"""

"""The HTML page of `chat-logs report`: data, tables and plots, with the scripts and styles.

Imports `reports`, `stats`, `output`, `log`, `table`, `exit_codes`, `chat_cli` and `chat_server.vocabulary`.
Open `command.py` first.
"""

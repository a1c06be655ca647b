"""What a log can prove about the server: one check a module, all run by the report `audit`.

Imports `log` and `chat_server.vocabulary`.
Open `finding.py` first.
"""

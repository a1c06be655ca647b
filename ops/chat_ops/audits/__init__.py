"""What a log can prove about the server: one check a module, all run by the report `audit`.

Imports `log`.
Open `finding.py` first.
"""

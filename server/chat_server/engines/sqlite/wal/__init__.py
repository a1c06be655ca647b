"""Write-ahead logs of SQLite that another program cuts off or overwrites.

Imports `engines/sqlite/data_file_lock.py`, and nothing else of the server.
Open `guard.py` first, then `check.py`.
"""

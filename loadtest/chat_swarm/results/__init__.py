"""A finished run: its files, metrics, SLOs, comparison, drift and verdict.

Imports `model` and `chat_cli` only.
Open `finished_run.py` first, then `run_directory.py`.
"""

"""Framing: a byte stream cut into lines, or into JSON objects by their braces.

Imports nothing of ours.
Open `lines.py` first.
"""

"""Framing: a byte stream cut into lines, or into JSON objects by their braces; telnet's commands taken out.

Imports nothing of ours.
Open `lines.py` first.
"""

"""Cuts a byte stream into frames: lines, and JSON objects by their braces.

Imports nothing of ours.
Open `lines.py` first.
"""

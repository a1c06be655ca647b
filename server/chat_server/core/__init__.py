"""Rooms and routing: commands in, events out, no I/O. What it needs is handed in (ports/link.py)."""

"""Sockets: accepting them, reading them in a greenlet each, and writing to them without waiting."""

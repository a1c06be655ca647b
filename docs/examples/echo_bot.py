"""A bot in ten lines: it says again what others say. Run: python echo_bot.py [HOST:PORT]."""

import sys

from chat_client import Client
from chat_protocol.events import MessageEvent

with Client("echo", sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7072") as client:
    for event in client:
        if isinstance(event, MessageEvent) and event.sender != client.id:
            client.say(f"{event.username} said: {event.message}", room=event.room)

"""The swarm: a load generator of thousands of bots on real sockets, which measures its own lag apart.

Imports `chat_protocol` and the client library; never the server. Locust is imported by `locust_plugin/` alone.
Open `locust_plugin/plugin.py` first, then `bots/bot_process.py`. Design: docs/topics/measurement.md.
"""

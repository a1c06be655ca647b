"""The swarm: a load generator of thousands of bots on real sockets, which measures its own lag apart.

Imports `chat_cli`, `chat_protocol` and `chat_client`; never the server. Only `locust_plugin/` and the
locustfile import Locust. Open `locust_plugin/plugin.py` first, then `bots/bot_process.py`.
"""

"""The swarm's locustfile: `locust -f loadtest/bots.py`. The code is in chat_swarm; see docs/loadtest.md."""

from chat_swarm.locustfile import ChatterBot, ChurnBot, DirectBot, LurkerBot, SlowBot

__all__ = ["ChatterBot", "ChurnBot", "DirectBot", "LurkerBot", "SlowBot"]

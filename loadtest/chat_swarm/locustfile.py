"""The locustfile: user classes, and the listeners that add the swarm's options and events to Locust.

`locust -f loadtest/bots.py`, or, installed: `locust -f "$(chat-swarm locustfile)"`. Another locustfile may
import from here and add user classes.
"""

from locust import events
from locust import stats as locust_stats

from chat_swarm.locust_plugin import options, plugin
from chat_swarm.locust_plugin.users import ChatterBot, ChurnBot, DirectBot, LurkerBot, SlowBot

__all__ = ["ChatterBot", "ChurnBot", "DirectBot", "LurkerBot", "SlowBot"]

locust_stats.bucket_response_time = plugin.round_response_time  # type: ignore[assignment]
events.init_command_line_parser.add_listener(options.add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(options.on_init)  # type: ignore[no-untyped-call]
events.init.add_listener(plugin.on_init)  # type: ignore[no-untyped-call]

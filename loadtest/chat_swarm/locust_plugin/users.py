"""The Locust users: shells around bots. Locust starts and stops them; the reactor makes them live.

Knows Locust's User and the kinds of bots. Must not know frames.

A shell's greenlet is parked until Locust ends it: fifteen thousand of them cost memory, and no time.
"""

from typing import ClassVar, Final

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust import User

from chat_swarm.bots.bot_process import Bot
from chat_swarm.bots.churn import Churn
from chat_swarm.bots.profiles import Chatter, Direct, Lurker, Slow
from chat_swarm.runner.locust_worker import LocustWorker

_RUNNING: Final = "running"  # Locust's word for the state


def _live_on(user: "SwarmUser") -> None:
    """Do nothing: Locust takes a user without a task for a mistake, but a bot's life is the reactor's."""


class SwarmUser(User):
    """A bot for Locust: `kind` makes it, from the engine of its process."""

    abstract = True
    tasks = [_live_on]  # noqa: RUF012  as Locust declares it
    bot_class: ClassVar[type[Bot]]
    worker: ClassVar[LocustWorker | None] = None
    """Of this process; locust_plugin/plugin.py sets it."""
    ready: ClassVar[Event] = Event()
    """Set by locust_plugin/plugin.py, too: Locust may have users begin before it says that it is there."""

    def start(self, group: Group) -> gevent.Greenlet:
        """Start the bot; Locust counts the greenlet that is returned."""
        self._group = group
        self._state = _RUNNING
        self._greenlet = group.spawn(_run_bot, self)
        return self._greenlet

    def stop(self, force: bool = False) -> bool:  # noqa: ARG002  there is no task that could be finished first
        """End the bot; what it had under way was awaited when the run began to stop."""
        self._group.killone(self._greenlet)
        return True


def _run_bot(user: SwarmUser) -> None:
    SwarmUser.ready.wait()
    station = SwarmUser.worker
    if station is None or station.engine is None:
        return  # the run could not begin, and has said why
    bot = type(user).bot_class(station.engine)
    station.start_bot(bot)
    try:
        gevent.get_hub().switch()  # until it is killed
    finally:
        station.end_bot(bot)


class ChatterBot(SwarmUser):
    """Talks in a room, by a schedule of its own, whatever the server does."""

    bot_class = Chatter


class DirectBot(SwarmUser):
    """Talks to one other, with a window of messages that are not acknowledged."""

    bot_class = Direct


class LurkerBot(SwarmUser):
    """Reads a room and says nothing."""

    bot_class = Lurker


class ChurnBot(SwarmUser):
    """Connects, says something, leaves or is cut, and comes back; by the client library."""

    bot_class = Churn


class SlowBot(SwarmUser):
    """Reads a room far too slowly."""

    bot_class = Slow

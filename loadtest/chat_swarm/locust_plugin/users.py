"""The Locust user classes: Locust starts and stops them, and each owns a bot that runs in the event loop.

A user's greenlet only waits until Locust kills it: fifteen thousand of them cost memory, but no CPU.
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
    """Do nothing: Locust refuses a user class without tasks, but the bots run in the event loop."""


class SwarmUser(User):
    """A Locust user that owns a bot: an instance of `bot_class`, made with its process's `BotProcess`."""

    abstract = True
    tasks = [_live_on]  # noqa: RUF012  as Locust declares it
    bot_class: ClassVar[type[Bot]]
    worker: ClassVar[LocustWorker | None] = None
    """This process's worker; set by plugin.py."""
    ready: ClassVar[Event] = Event()
    """Set by plugin.py when it has been installed: Locust may start users before its `init` event."""

    def start(self, group: Group) -> gevent.Greenlet:
        """Start the bot; return the greenlet, which Locust counts as a running user."""
        self._group = group
        self._state = _RUNNING
        self._greenlet = group.spawn(_run_bot, self)
        return self._greenlet

    def stop(self, force: bool = False) -> bool:  # noqa: ARG002  there is no task to finish first
        """Stop the bot; its outstanding messages were awaited when the run began to stop."""
        self._group.killone(self._greenlet)
        return True


def _run_bot(user: SwarmUser) -> None:
    SwarmUser.ready.wait()
    worker = SwarmUser.worker
    if worker is None or worker.bot_process is None:
        return  # the run could not begin, and the reason was logged
    bot = type(user).bot_class(worker.bot_process)
    worker.start_bot(bot)
    try:
        gevent.get_hub().switch()  # until it is killed
    finally:
        worker.end_bot(bot)


class ChatterBot(SwarmUser):
    """Sends to a room by its own schedule, however slow the server is (open loop)."""

    bot_class = Chatter


class DirectBot(SwarmUser):
    """Sends to one other bot, with a window of unacknowledged messages (closed loop)."""

    bot_class = Direct


class LurkerBot(SwarmUser):
    """Reads a room and sends nothing."""

    bot_class = Lurker


class ChurnBot(SwarmUser):
    """Connects, sends, leaves or is cut off, and comes back; uses the client library."""

    bot_class = Churn


class SlowBot(SwarmUser):
    """Reads a room far too slowly."""

    bot_class = Slow

"""Greenlets that do something at regular intervals: pings, presence and deadlines; the interval report."""

from collections.abc import Callable
from typing import Final

import gevent
from structlog.typing import FilteringBoundLogger

from chat_server.core.chat.hub import Hub
from chat_server.net.connections import Connections
from chat_server.net.event_loop import NEXT_ROUND_S
from chat_server.vocabulary import LogEvent

TICK_INTERVAL_S: Final = 0.1
"""Seconds between two checks of pings, presence and deadlines."""

PRESENCE_DELIVERIES: Final = 400
"""Presence events after which a check sends no more; after each hundred others are served."""


def repeat_every(seconds: float, work: Callable[[], None], log: FilteringBoundLogger) -> None:
    """Call `work` every so many seconds until killed; log what it raises, and go on."""
    while True:
        gevent.sleep(seconds)
        try:
            work()
        except Exception as error:
            log.error(LogEvent.INTERNAL_ERROR, exc_info=error)


class Ticker:
    """Sends what is due and ends what is overdue."""

    def __init__(self, log: FilteringBoundLogger, hub: Hub, connections: Connections) -> None:
        self._log = log
        self._tasks: tuple[Callable[[], object], ...] = (
            self._flush_presence,
            self._ping,
            hub.backfill.tick,
            hub.resumable.tick,
            hub.closings.tick,
            connections.end_hello_timeouts,
        )
        self._heartbeat = hub.heartbeat
        self._presence_updates = hub.presence_updates
        self._context = connections.context

    def tick(self) -> None:
        """Run each task, whatever another one raises."""
        for task in self._tasks:
            try:
                task()
            except Exception as error:  # noqa: BLE001  a bug in one must not stop the others
                self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _flush_presence(self) -> None:
        deliveries = 0
        while deliveries < PRESENCE_DELIVERIES and (sent := self._presence_updates.flush()):
            deliveries += sent
            self._context.loop.sleep(NEXT_ROUND_S)

    def _ping(self) -> None:
        if not self._context.reading_stopped:  # else no pong could be seen
            self._heartbeat.tick()

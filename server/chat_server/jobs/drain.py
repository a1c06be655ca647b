"""The first part of a graceful stop: accepted messages are stored and delivered, then all get `bye`."""

import random
from collections.abc import Callable, Sequence
from typing import Final

import gevent

from chat_protocol.errors import ByeReason
from chat_server.core.delivery.committer import Committer
from chat_server.core.ports.clock import Clock
from chat_server.net.connection import Connection
from chat_server.net.connections import Connections
from chat_server.net.linger import CLOSE_LINGER_S

ACKNOWLEDGEMENT_CHECK_S: Final = 0.05
"""Seconds between two checks of which sessions still await an acknowledgement."""

END_CHECK_S: Final = 0.01
"""Seconds between two checks of whether all is stored, or all have gone."""


def drain(
    connections: Connections,
    committer: Committer,
    clock: Clock,
    *,
    timeout_s: float,
    store_patience_s: float,
    reconnect_spread_s: float,
    on_unfinished: Callable[[Connection], None],
) -> None:
    """Read no more commands, wait for what was accepted, and close all connections within `timeout_s`.

    A store that fails is waited for `store_patience_s` longer: then the messages are refused. Clients come
    back after a random part of `reconnect_spread_s`. `on_unfinished` is called for the connections that are
    still open at the end and whose session has not ended. May wait.
    """
    deadline = clock.monotonic() + timeout_s
    connections.context.stop_reading(timeout_s)
    # Accepted messages are stored and acknowledged first, or refused if the store keeps failing.
    while not committer.idle and clock.monotonic() < deadline + store_patience_s:
        gevent.sleep(END_CHECK_S)
    # Then lagging sessions get their acknowledgements, while there is still time for their bye.
    last_bye_at = deadline - min(CLOSE_LINGER_S, timeout_s / 2)
    unanswered = _say_bye(list(connections.registered), reconnect_spread_s)
    while (unanswered or not committer.idle) and clock.monotonic() < last_bye_at:
        gevent.sleep(ACKNOWLEDGEMENT_CHECK_S)
        unanswered = _say_bye(unanswered, reconnect_spread_s)
    _say_bye(unanswered, reconnect_spread_s, even_unanswered=True)
    while connections.registered and clock.monotonic() < deadline:
        gevent.sleep(END_CHECK_S)
    for connection in list(connections.registered):
        session = connection.session
        ended = session.closed or session.held or session.link is not connection
        if not ended:  # else it has been reported, and waits for its peer to close
            on_unfinished(connection)
    gevent.sleep(END_CHECK_S)  # let the last disconnects reach the store


def _say_bye(
    connections: Sequence[Connection], reconnect_spread_s: float, *, even_unanswered: bool = False
) -> list[Connection]:
    """Send `bye` to the connections that await no acknowledgement, or to all; return the others."""
    unanswered = []
    for connection in connections:
        if not even_unanswered and connection.awaits_acknowledgement():
            unanswered.append(connection)
        else:
            after = round(random.uniform(0, reconnect_spread_s), 2)
            connection.close_with_bye(ByeReason.SHUTDOWN, after=after)
    return unanswered

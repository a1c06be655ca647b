"""What the swarm measures and counts: the closed lists of names, for tables, files and reports alike.

Knows names, units and meanings. Must not know how anything is measured.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LatencyMetric:
    """A latency in whole microseconds: `kind` is its type in Locust's table, `meaning` from when to when.

    `of_server` tells whether it speaks of the server, or else of the generator itself.
    """

    name: str
    locust_type: str
    meaning: str
    measures_server: bool = True


METRICS: Final = (
    LatencyMetric("connect", "tcp", "connect(2) called → the connection stands"),
    LatencyMetric("login", "hello", "`hello` sent → `welcome` received"),
    LatencyMetric("rtt", "ping", "`ping` sent → `pong` received"),
    LatencyMetric("ack", "send", "message sent → its own echo received: it is durable"),
    LatencyMetric("ack_response", "send", "message planned → its own echo received"),
    LatencyMetric("delivery", "receive", "message sent → received, once for each receiver"),
    LatencyMetric("delivery_response", "receive", "message planned → received, once for each receiver"),
    LatencyMetric(
        "held_up", "send", "message planned → sent, where the bot could not: cut off, or nothing was taken"
    ),
    LatencyMetric("catch_up", "receive", "message sent → received by a bot that was away or behind then"),
    LatencyMetric("resume", "hello", "connection cut → `welcome` of the resumed session received"),
    LatencyMetric("bot_lag", "lag", "received by the kernel → seen by the bot", measures_server=False),
    LatencyMetric(
        "send_lag", "lag", "message planned → sent, where only the bot itself was late", measures_server=False
    ),
    LatencyMetric("loop_lag", "lag", "a timer of the event loop due → run", measures_server=False),
)
"""All latencies, in the order in which they are shown. Sent and seen are moments of the generator's clock,
received is the kernel's stamp of the bytes (SO_TIMESTAMPNS), planned is the schedule's absolute moment."""

METRIC_BY_NAME: Final = {metric.name: metric for metric in METRICS}

COUNTS: Final = {
    "sent": "messages handed to the kernel",
    "abandoned": "messages whose session was lost before they were acknowledged or refused",
    "unsent": "messages that were planned before sending stopped, and were never sent",
    "sent_bytes": "bytes handed to the kernel",
    "acknowledged": "own messages that came back as echo",
    "refused": "messages that the server answered with an error",
    "delivered": "messages received, once for each receiver, own echoes too",
    "received_bytes": "bytes received",
    "caught_up": "messages received that were said while the bot was away or behind (not in `delivery`)",
    "untimed": "messages received that the bot read too late to know their moment (not in `delivery`)",
    "foreign": "messages received that no bot of this run has sent",
    "connects": "connections made",
    "connect_failures": "connections that were refused, reset or timed out before `welcome`",
    "logins": "sessions begun",
    "cuts": "connections lost, or cut by the bot itself on purpose",
    "resumed": "sessions taken up again after a cut",
    "not_resumed": "sessions that were asked for after a cut and were new ones",
    "byes": "connections that the server ended with a `bye`, without being asked",
    "pings": "`ping`s sent",
    "errors": "errors of all kinds: `error` frames, connections that failed or were lost, `bye`s",
}
"""What is counted in each second, beside the audit's faults."""

FAULTS: Final = {
    "lost": "a receiver was shown seqs n and n + 2, or less than all at the end",
    "repeated": "a receiver was shown a seq twice, or one message has two seqs",
    "reordered": "a receiver was shown a seq after a later one, or a sender's messages in another order",
    "gaps": "the server said that messages can no longer be had, to a bot that was neither away nor slow",
    "mismatched": "two receivers were shown different messages under one seq",
    "unanswered": "a message on a connection that stood was neither acknowledged nor refused",
}
"""What the audit finds. Any of them fails a run."""

"""Closed lists of the names of latencies, counts and audit faults, with units and meanings."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LatencyMetric:
    """A latency in whole µs.

    `locust_type`: its request type in Locust's table; `meaning`: start event → end event; `measures_server`:
    whether it is a latency of the server, or else of the load generator itself.
    """

    name: str
    locust_type: str
    meaning: str
    measures_server: bool = True


METRICS: Final = (
    LatencyMetric("connect", "tcp", "connect(2) called → connection established"),
    LatencyMetric("login", "hello", "`hello` sent → `welcome` received"),
    LatencyMetric("rtt", "ping", "`ping` sent → `pong` received"),
    LatencyMetric("ack", "send", "message sent → its own echo received: it is durable"),
    LatencyMetric("ack_response", "send", "message planned → its own echo received"),
    LatencyMetric("delivery", "receive", "message sent → received, once for each receiver"),
    LatencyMetric("delivery_response", "receive", "message planned → received, once for each receiver"),
    LatencyMetric("held_up", "send", "message planned → sent, where the bot was offline or its socket full"),
    LatencyMetric("catch_up", "receive", "message sent → received by a bot that was away or catching up"),
    LatencyMetric("resume", "hello", "connection cut → `welcome` of the resumed session received"),
    LatencyMetric("bot_lag", "lag", "received by the kernel → seen by the bot", measures_server=False),
    LatencyMetric(
        "send_lag", "lag", "message planned → sent, where only the bot was late", measures_server=False
    ),
    LatencyMetric("loop_lag", "lag", "a timer of the event loop due → run", measures_server=False),
)
"""All latencies, in display order. "Sent" and "seen" are readings of the generator's clock, "received" is the
kernel's receive timestamp (SO_TIMESTAMPNS), "planned" is the absolute time in the bot's schedule."""

METRIC_BY_NAME: Final = {metric.name: metric for metric in METRICS}

COUNTS: Final = {
    "sent": "messages handed to the kernel",
    "abandoned": "messages whose session was lost before they were acknowledged or refused",
    "unsent": "messages planned before sending stopped that were never sent",
    "sent_bytes": "bytes handed to the kernel",
    "acknowledged": "own messages that came back as an echo",
    "refused": "messages that the server answered with an error",
    "delivered": "messages received, once for each receiver, own echoes included",
    "received_bytes": "bytes received",
    "caught_up": "messages received that were sent while the bot was away or catching up (not in `delivery`)",
    "untimed": "messages received that the bot read too late to time them (not in `delivery`)",
    "foreign": "messages received that no bot of this run sent",
    "connects": "connections established",
    "connect_failures": "connections refused, reset or timed out before `welcome`",
    "logins": "sessions started",
    "cuts": "connections lost, or cut by the bot on purpose",
    "resumed": "sessions resumed after a cut",
    "not_resumed": "sessions for which a resume was requested after a cut, but the server started a new one",
    "byes": "connections that the server closed with a `bye`, unrequested",
    "pings": "`ping`s sent",
    "errors": "errors of all kinds: `error` frames, failed or lost connections, `bye`s",
}
"""Counts of each second, besides the audit's faults."""

FAULTS: Final = {
    "lost": "a receiver got seqs n and n + 2, or did not reach the head of the room by the end",
    "repeated": "a receiver got a seq twice, or one message has two seqs",
    "reordered": "a receiver got a seq after a later one, or a sender's messages in another order",
    "gaps": "the server reported a gap to a bot that was neither disconnected nor slow",
    "mismatched": "receivers were shown different bytes with the same seq",
    "altered": "a sender was shown its own message with another text or sender than it sent",
    "stray": "a receiver was shown a message of a room that it is not in",
    "unanswered": "a message on an open connection was neither acknowledged nor refused",
}
"""Faults that the audit finds. A single one fails the run."""

"""The plan of a run: all options with their defaults and units (locust_plugin/options.py parses them)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from chat_swarm.model.distributions import Distribution, constant
from chat_swarm.model.stages import ShapePlan

MIN_PAYLOAD_BYTES: Final = 80
"""Size of a message that has room for the payload header (bots/payload.py)."""

BOT_CLASSES: Final = ("ChatterBot", "DirectBot", "LurkerBot", "ChurnBot", "SlowBot")
"""The kinds of bots: names of the Locust user classes."""

DEFAULT_PORT: Final = 7072

CUT_RECONNECT_MAX_S: Final = 0.1
"""Upper bound of the random delay before a bot whose connection was cut connects again: clients should add
such jitter, so that they do not all reconnect at the same time."""

SERVER_MESSAGES_PER_S: Final = 100.0
"""The server's default limit for a session (`--rate-messages`)."""

SERVER_BYTES_PER_S: Final = 256 * 1024
"""The server's default limit for a session (`--rate-bytes`)."""

FRAME_OVERHEAD_BYTES: Final = 80
"""Approximate size of a `message` command without its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The options of a run; rates are per second, times are in seconds."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    weights: tuple[tuple[str, int], ...] = (("ChatterBot", 1),)
    """(class, weight) of the bots to run: names of BOT_CLASSES, weights above 0."""
    room_size: int = 20
    """Bots in a room."""
    rooms: int = 0
    """Number of rooms; 0: as many as the bots fill."""
    room_prefix: str = "swarm"
    message_rate: float = 0.2
    """Messages per second of each ChatterBot."""
    direct_rate: float = 1.0
    """Messages per second of each DirectBot, as far as its window allows."""
    window: int = 1
    """Unacknowledged messages that a DirectBot may have."""
    think_time: Distribution = field(default_factory=lambda: constant(0.0))
    """Pause of a DirectBot between an acknowledgement and its next message."""
    payload_bytes: Distribution = field(default_factory=lambda: constant(160.0))
    """Size of a message's text, payload header included."""
    ping_interval: float = 10.0
    """Interval between the `ping`s of a bot; 0: none."""
    churn_stay: Distribution = field(default_factory=lambda: constant(10.0))
    """Duration of a ChurnBot's visit."""
    churn_away: Distribution = field(default_factory=lambda: constant(2.0))
    churn_cut: float = 0.5
    """Share of a ChurnBot's visits that end by a cut, after which it resumes; the others end with `quit`."""
    slow_rate: float = 1024.0
    """Bytes per second that a SlowBot reads."""
    resumable: bool = False
    """Whether bots request resumable sessions (always so in a storm and for ChurnBots)."""
    lag_limit: float = 0.1
    """Loop lag, in seconds, above which a second is marked."""
    drain: float = 10.0
    """Longest wait for acknowledgements and deliveries at the end of a run."""
    connect_timeout: float = 30.0
    """Limit from connect(2) to `welcome`."""
    source_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    """Local addresses to connect from; empty: 127.0.0.1, .2, … to a loopback target, else the kernel's
    choice."""
    leave_out_marked: bool = False
    """Whether the headline and the SLO leave out marked seconds."""
    server_pid: int = 0
    """The server's process, whose CPU and memory are sampled; 0: found by its port."""
    server_log: Path | None = None
    """The server's log, for its own latencies; None: not read."""
    report: Path | None = None
    """The run directory; None: named after the start time."""
    slo: str = ""
    """The conditions that the run must meet; empty: none."""
    shape: ShapePlan = field(default_factory=ShapePlan)
    """How the load changes over time."""

    def warnings(self) -> Iterator[str]:
        """Yield the warnings to show before the run starts."""
        kinds = {kind for kind, _ in self.weights}
        size = self.payload_bytes.median or (self.payload_bytes.low + self.payload_bytes.high) / 2
        senders = (("ChatterBot", "message", self.message_rate), ("DirectBot", "direct", self.direct_rate))
        for kind, option, rate in senders:
            if kind not in kinds:
                continue
            said = f"--{option}-rate {rate:g}"
            if rate > SERVER_MESSAGES_PER_S:
                yield (
                    f"{said}: over {SERVER_MESSAGES_PER_S:g} messages a second of a session are refused "
                    f"unless the server runs with --rate-messages 0"
                )
            if (of_each := rate * (size + FRAME_OVERHEAD_BYTES)) > SERVER_BYTES_PER_S:
                yield (
                    f"{said} with --payload-bytes {self.payload_bytes.text}: each bot sends {of_each:,.0f} "
                    f"bytes a second; the server reads {SERVER_BYTES_PER_S:,} without --rate-bytes 0"
                )
        if not self.drain:
            yield "--drain 0: messages in flight at the end are not awaited, so the audit is incomplete"

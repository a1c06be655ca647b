"""What a run is to do: everything that the options say, checked.

Knows names, units and defaults. Must not know Locust nor how the options are given (locust_plugin/options.py
does).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from chat_swarm.model.distributions import Distribution, constant
from chat_swarm.model.stages import ShapePlan

MIN_PAYLOAD_BYTES: Final = 80
"""Bytes that a message needs for its stamp."""

BOT_CLASSES: Final = ("ChatterBot", "DirectBot", "LurkerBot", "ChurnBot", "SlowBot")
"""The kinds of bots: the names of the Locust users."""

DEFAULT_PORT: Final = 7072

CUT_RECONNECT_MAX_S: Final = 0.1
"""Seconds that a bot whose connection was cut waits at most, at random, before it connects again: as clients
should, or all of them would come at the same moment."""

SERVER_MESSAGES_PER_S: Final = 100.0
"""Messages a second that a server takes of a session on the long run, by default (`--rate-messages`)."""

SERVER_BYTES_PER_S: Final = 256 * 1024
"""Bytes a second, likewise (`--rate-bytes`)."""

FRAME_OVERHEAD_BYTES: Final = 80
"""What a `message` command holds beside its text, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The options of a run; rates are per second, times in seconds."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    weights: tuple[tuple[str, int], ...] = (("ChatterBot", 1),)
    """(kind, weight) of those that are to run: of BOTS, none of weight 0."""
    room_size: int = 20
    """Bots in a room."""
    rooms: int = 0
    """How many rooms; 0: as many as the bots fill."""
    room_prefix: str = "swarm"
    message_rate: float = 0.2
    """Messages that each ChatterBot says."""
    direct_rate: float = 1.0
    """Messages that each DirectBot says, if its window lets it."""
    window: int = 1
    """Messages of a DirectBot that may be unacknowledged."""
    think_time: Distribution = field(default_factory=lambda: constant(0.0))
    """What a DirectBot waits after an acknowledgement before it says more."""
    payload_bytes: Distribution = field(default_factory=lambda: constant(160.0))
    """Size of a message's text, its stamp included."""
    ping_interval: float = 10.0
    """Between two `ping`s of a bot; 0: none."""
    churn_stay: Distribution = field(default_factory=lambda: constant(10.0))
    """How long a ChurnBot stays before it goes."""
    churn_away: Distribution = field(default_factory=lambda: constant(2.0))
    churn_cut: float = 0.5
    """Share of a ChurnBot's goings that are cuts, after which it resumes; the others say `quit`."""
    slow_rate: float = 1024.0
    """Bytes a second that a SlowBot reads."""
    resumable: bool = False
    """Whether bots ask for a session that can be resumed (always so for a storm and for ChurnBots)."""
    lag_limit: float = 0.1
    """Loop lag, in seconds, over which a second is marked."""
    drain: float = 10.0
    """How long, at most, the end of a run waits for acknowledgements and deliveries."""
    connect_timeout: float = 30.0
    """From connect(2) to `welcome`."""
    source_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    """Local addresses to connect from; none: 127.0.0.1, .2, … to a loopback target, else any."""
    leave_out_marked: bool = False
    """Whether the headline and the SLO leave marked seconds out."""
    server_pid: int = 0
    """The server's process, to be looked at from outside; 0: found by its port."""
    report: Path | None = None
    """The run directory; None: one is named after the moment."""
    slo: str = ""
    """The conditions that the run must keep; empty: none."""
    shape: ShapePlan = field(default_factory=ShapePlan)
    """How the load changes."""

    def warnings(self) -> Iterator[str]:
        """Yield the sentences that a reader must know before the run begins."""
        kinds = {kind for kind, _ in self.weights}
        size = self.payload_bytes.median or (self.payload_bytes.low + self.payload_bytes.high) / 2
        talkers = (("ChatterBot", "message", self.message_rate), ("DirectBot", "direct", self.direct_rate))
        for kind, option, rate in talkers:
            if kind not in kinds:
                continue
            said = f"--{option}-rate {rate:g}"
            if rate > SERVER_MESSAGES_PER_S:
                yield (
                    f"{said}: more than {SERVER_MESSAGES_PER_S:g} messages a second of one session are "
                    f"refused unless the server runs with --rate-messages 0"
                )
            if (of_each := rate * (size + FRAME_OVERHEAD_BYTES)) > SERVER_BYTES_PER_S:
                yield (
                    f"{said} with --payload-bytes {self.payload_bytes.text}: each bot sends {of_each:,.0f} "
                    f"bytes a second; {SERVER_BYTES_PER_S:,} are read unless the server has --rate-bytes 0"
                )
        if not self.drain:
            yield "--drain 0: what is under way when sending stops is not awaited, so the audit is not whole"

"""What a run is to do: everything that the options say, checked.

Knows names, units and defaults. Must not know Locust nor how the options are given (options.py does).
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from chat_swarm.sizes import Distribution, constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of a run; rates are per second, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 7072
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

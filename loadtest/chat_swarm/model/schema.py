"""What a run yields: the shapes of the files, and of what processes tell each other.

Knows names and units: times in `…_us` are microseconds, `unix` is seconds since the epoch (UTC), `t` is
seconds since the run began. Must not know how a figure came about.
"""

from typing import Any, Final

from msgspec import Struct, field

SILENT_PROCESS_REASON: Final = "a bot process did not report"
"""Why a second is marked that lacks a process which has reported before."""


class ProcessSecond(Struct, kw_only=True):
    """One second of one process. Histograms are as `Histogram.pack` gives them."""

    unix: int
    """The second that it covers, of the generator's wall clock."""
    process: int
    """0 for the only process; the worker's index otherwise."""
    seconds: float = 1.0
    """How long it really was."""
    bots: int = 0
    """Bots that Locust has started and not stopped."""
    connected: int = 0
    """Bots whose session stands."""
    counts: dict[str, int] = {}
    """By the names of `metrics.COUNTS`; what is not there is 0."""
    faults: dict[str, int] = {}
    """By the names of `metrics.FAULTS`; found in this second."""
    cpu: float = 0.0
    """Cores that this process used."""
    loop_lag_max_us: int = 0
    marked: str = ""
    """Why the generator was the bottleneck in this second; empty if it was not. A row's may also be that a
    process of it did not report."""
    histograms: dict[str, bytes] = {}
    """By the names of `metrics.METRICS`."""


class Quantiles(Struct, kw_only=True, frozen=True):
    """A latency histogram in short, µs."""

    count: int = 0
    mean: float = 0.0
    min: int = 0
    p50: int = 0
    p90: int = 0
    p99: int = 0
    p999: int = 0
    p9999: int = 0
    max: int = 0


class ServerSample(Struct, kw_only=True, frozen=True):
    """The server from outside, over one second: cores used, resident bytes, open descriptors."""

    cpu: float
    rss_bytes: int
    descriptors: int


class MachineSample(Struct, kw_only=True, frozen=True):
    """The machine of the master, or of the only process, over one second, in cores."""

    others: float
    """Kept busy by programs that are neither the swarm nor the server."""
    stolen: float
    """Withheld by a hypervisor."""


class TimelineRow(Struct, kw_only=True):
    """One second of the whole swarm: a row of timeline.csv."""

    t: int
    unix: int
    phase: str
    """`ramp`, `steady` or `drain`."""
    step: str = ""
    """The load shape's name for what it was doing."""
    bots: int = 0
    connected: int = 0
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}
    metrics: dict[str, Quantiles] = {}
    loop_lag_max_us: int = 0
    """The worst of all processes."""
    cpu: float = 0.0
    """Cores used by the busiest process of the generator."""
    marked: str = ""
    server: ServerSample | None = None
    machine: MachineSample | None = None


class AuditFault(Struct, kw_only=True, frozen=True):
    """One thing that the audit found; `kind` is one of `metrics.FAULTS`; seqs from `first` to `last`."""

    kind: str
    room: str
    bot: str
    first: int
    last: int
    detail: str = ""


class AuditResult(Struct, kw_only=True):
    """What was checked and found. `passed` is true when no fault was counted and the check was whole."""

    passed: bool = True
    counts: dict[str, int] = {}
    """All of `metrics.FAULTS`."""
    receivers: int = 0
    """(bot, room) pairs that were followed."""
    checked: int = 0
    """Messages that were checked, once for each receiver."""
    rooms: int = 0
    explained_gaps: int = 0
    """Seqs that the server said can no longer be had, to bots that were away or slow (retention)."""
    unfinished: int = 0
    """Receivers that had not got everything when the drain's time was over."""
    notes: list[str] = []
    """Why the check was not whole, if it was not."""
    faults: list[AuditFault] = []
    """The first hundred."""


class Scope(Struct, kw_only=True):
    """Figures over some of the seconds: their number, rates per second, and latencies."""

    seconds: float = 0.0
    counts: dict[str, int] = {}
    rates: dict[str, float] = {}
    """`sent`, `delivered`, `acknowledged`, `sent_bytes`, `received_bytes`, per second."""
    metrics: dict[str, Quantiles] = {}


class ServerFigures(Struct, kw_only=True):
    """The server from outside, over the steady seconds (all, if there are none)."""

    pid: int
    command: str = ""
    cpu_cores: float = 0.0
    cpu_us_per_delivery: float | None = None
    cpu_us_per_message: float | None = None
    rss_before_bytes: int = 0
    """Before the first bot connected."""
    rss_peak_bytes: int = 0
    rss_bytes_per_connection: float | None = None
    """(RSS when all were connected, less before) ÷ connections."""
    descriptors_peak: int = 0


class GeneratorFigures(Struct, kw_only=True):
    """The swarm itself."""

    processes: int = 1
    cpu_cores_peak: float = 0.0
    """Of the busiest process."""
    rss_bytes: int = 0
    """Of all bot processes together, at the peak."""
    rss_bytes_per_bot: float | None = None
    marked_seconds: int = 0
    marked: dict[str, int] = {}
    """Reason → seconds."""
    stamped: bool = True
    """Whether the kernel stamped what was received; if not, received is when Python saw it."""
    clock_step_us: int = 0
    """The largest step of the wall clock against the monotonic one that was seen."""
    others_cores: float | None = None
    """Cores of the master's machine that other programs kept busy, the mean of the steady seconds."""
    stolen_cores: float | None = None
    """Cores that a hypervisor withheld from it."""


class SloTerm(Struct, kw_only=True, frozen=True):
    """One condition of an SLO: `value` is what was measured, in the unit of `limit`."""

    text: str
    passed: bool
    value: float | None
    limit: float
    unit: str = ""
    why: str = ""
    """Why there is no value."""


class Objective(Struct, kw_only=True):
    """An SLO and how it fared, over the scope that is named."""

    text: str
    scope: str
    passed: bool
    terms: list[SloTerm] = []


class Step(Struct, kw_only=True):
    """A step of a load shape."""

    label: str
    start: int
    """Seconds since the run began."""
    end: int
    bots: int
    rate_factor: float = 1.0
    held: bool | None = None
    """Whether the SLO held; None where none was asked for."""
    generator_bound: bool = False
    figures: Scope = field(default_factory=Scope)
    objective: Objective | None = None


class CapacityResult(Struct, kw_only=True):
    """What `--shape limit` found. `at_least`: the generator or the time, not the server, gave up first."""

    by: str
    """`users` or `rate`."""
    held: float | None = None
    """The highest step that held: users, or messages a second in."""
    broke: float | None = None
    at_least: bool = False
    why: str = ""


class Summary(Struct, kw_only=True):
    """summary.json."""

    version: int = 1
    run: str
    started: str
    """ISO 8601, UTC."""
    seconds: float
    command: list[str] = []
    target: str
    options: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    bots: dict[str, int] = {}
    """Class → most at once."""
    peak_connected: int = 0
    headline: str = "steady"
    """Which of `scopes` the report and the SLO speak of."""
    scopes: dict[str, Scope] = {}
    audit: AuditResult
    generator: GeneratorFigures
    server: ServerFigures | None = None
    objective: Objective | None = None
    shape: str = ""
    steps: list[Step] = []
    limit: CapacityResult | None = None
    errors: dict[str, int] = {}
    """Error code, reason or errno → how often."""
    remarks: list[str] = []
    """Findings in words, such as whether a soak drifts."""
    warnings: list[str] = []
    """Sentences that a reader must know before believing the figures."""
    passed: bool = True
    exit_code: int = 0

    @property
    def untimed_deliveries(self) -> int:
        """Deliveries of the headline's seconds that were read too late to be timed; 0 if they do not matter.

        They do from one in a hundred on. SlowBots and ChurnBots never time what they read.
        """
        counts = self.scopes[self.headline].counts if self.headline in self.scopes else {}
        untimed = counts.get("untimed", 0)
        late = untimed * 100 > counts.get("delivered", 0)
        return untimed if late and not (self.bots.get("SlowBot") or self.bots.get("ChurnBot")) else 0

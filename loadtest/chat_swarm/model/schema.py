"""Schema of a run's results: the files of the run directory, and the reports between processes.

Field names are file formats and IPC keys: they MUST NOT change. Times in `…_us` are microseconds, `unix` is
seconds since the epoch (UTC), `t` is seconds since the start of the run.
"""

from typing import Any

from msgspec import Struct, field


class SlowDelivery(Struct, kw_only=True, frozen=True):
    """The slowest delivery of some time: what, to which bot, and in how many µs after it was sent."""

    us: int
    bot: str
    room: str
    seq: int


class ProcessSecond(Struct, kw_only=True):
    """Report of one process for one second. Histograms are serialised by `Histogram.pack`."""

    unix: int
    """The second that it covers, by the generator's wall clock."""
    process: int
    """0 for the only process; else the worker's number."""
    seconds: float = 1.0
    """Its actual length."""
    bots: int = 0
    """Bots that Locust has started and not stopped."""
    connected: int = 0
    """Bots with a session."""
    counts: dict[str, int] = {}
    """By the names of `metric_names.COUNTS`; a missing name means 0."""
    faults: dict[str, int] = {}
    """By the names of `metric_names.FAULTS`; found in this second."""
    cpu: float = 0.0
    """Cores that this process used."""
    loop_lag_max_us: int = 0
    marked: str = ""
    """Why the generator was the bottleneck in this second; empty if it was not. In a `TimelineRow` it may
    also be that a process did not report."""
    histograms: dict[str, bytes] = {}
    """By the names of `metric_names.METRICS`."""
    slowest: SlowDelivery | None = None
    """The slowest timed delivery."""
    silence_us: int | None = None
    """The longest time, ended in this second, in which nothing arrived on any connection of this process,
    though several messages were under way; 0: none. None if nothing arrived in this second."""


class Quantiles(Struct, kw_only=True, frozen=True):
    """Summary of a latency histogram, in µs."""

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
    """The server process, from /proc, over one second: cores used, resident bytes, open descriptors."""

    cpu: float
    rss_bytes: int
    descriptors: int


class MachineSample(Struct, kw_only=True, frozen=True):
    """CPU load of the machine of the master, or of the only process, over one second, in cores."""

    others: float
    """Used by programs other than the swarm and the server."""
    stolen: float
    """Withheld by a hypervisor (steal time)."""


class TimelineRow(Struct, kw_only=True):
    """One second of the whole swarm: a row of timeline.csv."""

    t: int
    unix: int
    phase: str
    """`ramp`, `steady` or `drain`."""
    step: str = ""
    """The load shape's label of the current stage."""
    bots: int = 0
    connected: int = 0
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}
    metrics: dict[str, Quantiles] = {}
    loop_lag_max_us: int = 0
    """The largest of all processes."""
    cpu: float = 0.0
    """Cores used by the busiest process of the generator."""
    marked: str = ""
    server: ServerSample | None = None
    machine: MachineSample | None = None
    slowest: SlowDelivery | None = None
    standstill_us: int = 0
    """Time, ended in this second, in which nothing arrived on any connection of any process, though several
    messages were under way."""


class AuditFault(Struct, kw_only=True, frozen=True):
    """One fault that the audit found; `kind` is one of `metric_names.FAULTS`; seqs from `first` to `last`."""

    kind: str
    room: str
    bot: str
    first: int
    last: int
    detail: str = ""


class AuditResult(Struct, kw_only=True):
    """Result of the audit. `passed` is true if no fault was counted and the check was complete."""

    passed: bool = True
    counts: dict[str, int] = {}
    """All of `metric_names.FAULTS`."""
    receivers: int = 0
    """(bot, room) pairs checked."""
    checked: int = 0
    """Messages checked, once for each receiver."""
    rooms: int = 0
    explained_gaps: int = 0
    """Seqs in gaps that the server reported to bots that were disconnected or slow (retention)."""
    uncompared: int = 0
    """Messages received so late that what other receivers were shown was no longer recorded."""
    unfinished: int = 0
    """Receivers that had not reached the head of their room when the drain ended."""
    notes: list[str] = []
    """Why the check was incomplete, if it was."""
    faults: list[AuditFault] = []
    """The first hundred."""


class Scope(Struct, kw_only=True):
    """Figures over a set of seconds: their total length, counts, rates and latencies."""

    seconds: float = 0.0
    counts: dict[str, int] = {}
    rates: dict[str, float] = {}
    """`sent`, `delivered`, `acknowledged`, `sent_bytes`, `received_bytes`, per second."""
    metrics: dict[str, Quantiles] = {}


class ServerFigures(Struct, kw_only=True):
    """CPU and memory of the server process, over the steady seconds (over all, if there are none)."""

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


class ServerLogFigures(Struct, kw_only=True):
    """What the server's own log says (`--server-log`) of the headline's seconds."""

    path: str
    lines: int = 0
    """Interval lines of that time."""
    accept_to_commit: Quantiles = field(default_factory=Quantiles)
    commit_to_sent: Quantiles = field(default_factory=Quantiles)
    """From a commit to the last member's send."""
    loop_lag_max_us: int = 0
    problem: str = ""
    """Why there are no figures; empty if there are."""


class GeneratorFigures(Struct, kw_only=True):
    """Load and limits of the generator itself."""

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
    """Whether received data had kernel timestamps; if not, "received" is when Python read it."""
    clock_step_us: int = 0
    """Largest observed step of the wall clock against the monotonic clock."""
    others_cores: float | None = None
    """Cores of the master's machine that other programs used, mean of the steady seconds."""
    stolen_cores: float | None = None
    """Cores that a hypervisor withheld from that machine."""


class SloTerm(Struct, kw_only=True, frozen=True):
    """One condition of an SLO; `value` is the measured figure, in the unit of `limit`."""

    text: str
    passed: bool
    value: float | None
    limit: float
    unit: str = ""
    why: str = ""
    """Why there is no value."""


class Objective(Struct, kw_only=True):
    """An SLO and its result over the named scope."""

    text: str
    scope: str
    passed: bool
    terms: list[SloTerm] = []


class Step(Struct, kw_only=True):
    """One step of a load shape."""

    label: str
    start: int
    """Seconds since the run began."""
    end: int
    bots: int
    rate_factor: float = 1.0
    held: bool | None = None
    """Whether the SLO held; None without an SLO."""
    generator_bound: bool = False
    figures: Scope = field(default_factory=Scope)
    objective: Objective | None = None


class CapacityResult(Struct, kw_only=True):
    """Result of `--shape limit`. `at_least`: the generator or the run time, not the server, ended it."""

    by: str
    """`users` or `rate`."""
    held: float | None = None
    """The highest load that held: users, or messages a second sent."""
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
    """Class → largest number at one time."""
    peak_connected: int = 0
    headline: str = "steady"
    """The scope, of `scopes`, that the report and the SLO use."""
    scopes: dict[str, Scope] = {}
    audit: AuditResult
    generator: GeneratorFigures
    server: ServerFigures | None = None
    server_log: ServerLogFigures | None = None
    slowest: SlowDelivery | None = None
    """Over the headline's seconds, and the drain after them."""
    objective: Objective | None = None
    shape: str = ""
    steps: list[Step] = []
    limit: CapacityResult | None = None
    errors: dict[str, int] = {}
    """Error code, reason or errno → count."""
    remarks: list[str] = []
    """Findings in words, such as a drift in a soak."""
    warnings: list[str] = []
    """Reasons to doubt the figures."""
    passed: bool = True
    exit_code: int = 0

    @property
    def untimed_deliveries(self) -> int:
        """Deliveries in the headline scope that were read too late to be timed; 0 if at most 1 % of all.

        Also 0 in a run with SlowBots or ChurnBots, which never time what they read.
        """
        counts = self.scopes[self.headline].counts if self.headline in self.scopes else {}
        untimed = counts.get("untimed", 0)
        late = untimed * 100 > counts.get("delivered", 0)
        return untimed if late and not (self.bots.get("SlowBot") or self.bots.get("ChurnBot")) else 0

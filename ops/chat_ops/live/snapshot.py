"""How a server is doing now, from its log's lines as they come; in bounded memory.

Knows what lines tell. Must not know files nor terminals. Lines are anybody's bytes: what is no log line
is counted.
"""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chat_ops.stats.histogram import Histogram
from chat_server.vocabulary import HISTOGRAMS, LogEvent

HISTORY: Final = 240
"""Intervals whose figures are kept for the sparklines: more than a terminal is wide."""
LAST: Final = 6
"""Intervals over which percentiles are taken, too: a minute of them, by default."""
MOST_NODES: Final = 32
MOST_SLOW: Final = 1000
MOST_EVENTS: Final = 50
MOST_KINDS: Final = 100
LONGEST_TEXT: Final = 100
"""Bounds for whatever a log may have in it."""
TOLD: Final = frozenset({LogEvent.SERVER_STARTED, LogEvent.SERVER_STOPPING, LogEvent.SERVER_STOPPED})
_LEVELS: Final = frozenset({"warning", "error", "critical"})
_FEW: Final = frozenset({LogEvent.SESSION_OPENED, LogEvent.READER_CAUGHT_UP, LogEvent.MESSAGE})


@dataclass(frozen=True, slots=True)
class Interval:
    """The figures of one interval; those of latency in µs, None where nothing was measured."""

    at: datetime
    node: str
    seconds: float
    sessions: int
    messages: float
    """A second, as all rates here."""
    deliveries: float
    bytes_in: float
    bytes_out: float
    opened: int
    closed: int
    errors: int
    refused: int
    lagging: int
    held: int
    loop_lag_ms: float
    p50: Mapping[str, float | None]
    p99: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Slow:
    """A reader that lags."""

    username: str
    address: str
    behind: int
    since: datetime
    node: str


@dataclass(frozen=True, slots=True)
class Told:
    """A line that a person should see."""

    at: datetime
    level: str
    event: str
    fields: Mapping[str, Any]


class Present:
    """What the last lines say."""

    def __init__(self, nodes: Iterable[str] = ()) -> None:
        self.bad = 0
        self.lines = 0
        self.opened = self.closed = 0  # since the last interval
        self.nodes: OrderedDict[str, Interval] = OrderedDict()
        self.history: deque[Interval] = deque(maxlen=HISTORY)
        self.errors: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.events: deque[Told] = deque(maxlen=MOST_EVENTS)
        self.slow: OrderedDict[str, Slow] = OrderedDict()
        self._wanted = frozenset(nodes)
        self._payloads: deque[Mapping[str, str]] = deque(maxlen=LAST)

    def take(self, line: bytes) -> Interval | None:
        """Take in a line; return its interval if it is of one."""
        if not line.strip():
            return None
        try:
            fields = json.loads(line)
            at = datetime.fromisoformat(fields["ts"]).astimezone(UTC)
            event = str(fields["event"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self.bad += 1
            return None
        self.lines += 1
        if self._wanted and _text(fields, "node") not in self._wanted:
            return None
        if event == LogEvent.INTERVAL:
            return self._interval(at, fields)
        self._line(at, event, fields)
        return None

    def latency(self, figure: str, last: int = LAST) -> Histogram:
        """Return the sum of the last intervals' histograms."""
        some = list(self._payloads)[-last:]
        return Histogram.merge(payloads.get(figure) for payloads in some)

    def total(self, name: str) -> float:
        """Return the sum of a figure over the nodes, of the last interval of each."""
        return float(sum(getattr(interval, name) for interval in self.nodes.values()))

    def _interval(self, at: datetime, fields: Mapping[str, Any]) -> Interval:
        payloads = {name: value for name in HISTOGRAMS if isinstance(value := fields.get(name), str)}
        each = {name: Histogram.merge([payload]) for name, payload in payloads.items()}
        seconds = _number(fields, "interval_s") or 1.0
        interval = Interval(
            at=at,
            node=_text(fields, "node"),
            seconds=seconds,
            sessions=int(_number(fields, "sessions")),
            messages=_number(fields, "messages") / seconds,
            deliveries=_number(fields, "deliveries") / seconds,
            bytes_in=_number(fields, "bytes_in") / seconds,
            bytes_out=_number(fields, "bytes_out") / seconds,
            opened=int(_number(fields, "opened")),
            closed=sum(_counts(fields, "closed").values()),
            errors=_add(self.errors, _counts(fields, "errors")),
            refused=_add(self.refused, _counts(fields, "refused")),
            lagging=int(_number(fields, "lagging")),
            held=int(_number(fields, "held")),
            loop_lag_ms=_number(fields, "loop_lag_max_ms"),
            p50={name: histogram.percentile(50) for name, histogram in each.items()},
            p99={name: histogram.percentile(99) for name, histogram in each.items()},
        )
        self._payloads.append(payloads)
        self.opened = self.closed = 0
        self.history.append(interval)
        self.nodes[interval.node] = interval
        if len(self.nodes) > MOST_NODES:
            self.nodes.popitem(last=False)
        return interval

    def _line(self, at: datetime, event: str, fields: Mapping[str, Any]) -> None:
        session, level = _text(fields, "session_id"), _text(fields, "level")
        if event == LogEvent.SESSION_OPENED:
            self.opened += 1
        elif event == LogEvent.SESSION_CLOSED:
            self.closed += 1
            self.slow.pop(session, None)
        elif event == LogEvent.READER_LAGGING:
            behind = int(_number(fields, "behind"))
            username, address, node = (_text(fields, name) for name in ("username", "address", "node"))
            self.slow[session] = Slow(username, address, behind, at, node)
            if len(self.slow) > MOST_SLOW:
                self.slow.popitem(last=False)
        elif event == LogEvent.READER_CAUGHT_UP:
            self.slow.pop(session, None)
        elif event == LogEvent.SERVER_STARTED:
            node = _text(fields, "node")  # of another, nothing has ended
            for one in [name for name, slow in self.slow.items() if slow.node == node]:
                del self.slow[one]
        if event in TOLD or (level in _LEVELS and event not in _FEW):
            self.events.append(Told(at, level, event, _short(fields)))


def _text(fields: Mapping[str, Any], name: str) -> str:
    return str(fields.get(name, ""))[:LONGEST_TEXT]


def _number(fields: Mapping[str, Any], name: str) -> float:
    """Return a number that can be counted with; of anything else 0."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return 0.0
    return float(value)


def _counts(fields: Mapping[str, Any], name: str) -> dict[str, int]:
    value = fields.get(name)
    return {key: int(_number(value, key)) for key in value} if isinstance(value, dict) else {}


def _add(sums: Counter[str], counts: Mapping[str, int]) -> int:
    for key, count in counts.items():
        if key in sums or len(sums) < MOST_KINDS:
            sums[key] += count
    return sum(counts.values())


def _short(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says something of an event, short: a stack would fill the screen."""
    left_out = {"ts", "level", "event", "node", "stack", "session_id", "version", "pid"}
    return {
        key: value if isinstance(value, int | float) else str(value)[:LONGEST_TEXT]
        for key, value in list(fields.items())[:20]
        if key not in left_out
    }

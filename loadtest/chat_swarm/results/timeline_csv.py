"""Encodes and decodes timeline.csv: one line per second of a run, flat."""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from chat_swarm.model.metric_names import COUNTS, FAULTS, METRICS
from chat_swarm.model.schema import MachineSample, Quantiles, ServerSample, SlowDelivery, TimelineRow


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the file, its meaning, and its value of a row (None: an empty field)."""

    name: str
    meaning: str
    value_of: Callable[[TimelineRow], Any]


def _field(name: str) -> Callable[[TimelineRow], Any]:
    return lambda row: getattr(row, name)


def _count_in(name: str, key: str) -> Callable[[TimelineRow], Any]:
    return lambda row: getattr(row, name).get(key, 0)


def _quantile(metric: str, part: str) -> Callable[[TimelineRow], Any]:
    def take(row: TimelineRow) -> Any:
        short = row.metrics.get(metric)
        if short is None or not short.count:
            return 0 if part == "count" else None
        return round(short.mean, 3) if part == "mean" else getattr(short, part)

    return take


def _sample(of: str, name: str) -> Callable[[TimelineRow], Any]:
    return lambda row: getattr(getattr(row, of), name, None)


_QUANTILES: Final = ("mean", "min", "p50", "p90", "p99", "p999", "p9999", "max")

_LATER_FAULTS: Final = ("altered", "stray")
"""Faults of later versions: at the end, so that the places of the earlier columns stay."""
_FAULT_COLUMNS: Final = {
    name: Column(name, f"audit: {meaning}", _count_in("faults", name)) for name, meaning in FAULTS.items()
}

COLUMNS: Final = (
    Column("t", "seconds since the run began", _field("t")),
    Column("unix", "the second, since the epoch, UTC", _field("unix")),
    Column("phase", "ramp, steady or drain", _field("phase")),
    Column("step", "the load shape's step", _field("step")),
    Column("bots", "bots that were started and not stopped", _field("bots")),
    Column("connected", "bots with a session", _field("connected")),
    *(Column(name, meaning, _count_in("counts", name)) for name, meaning in COUNTS.items()),
    *(column for name, column in _FAULT_COLUMNS.items() if name not in _LATER_FAULTS),
    *(
        column
        for metric in METRICS
        for column in (
            Column(
                f"{metric.name}_count", f"{metric.meaning}: samples", _quantile(metric.name, "count")
            ),
            *(
                Column(
                    f"{metric.name}_{part}_us",
                    f"{metric.meaning}: {part}, µs",
                    _quantile(metric.name, part),
                )
                for part in _QUANTILES
            ),
        )
    ),
    Column("loop_lag_worst_us", "the largest loop lag of all bot processes, µs", _field("loop_lag_max_us")),
    Column("cpu", "cores used by the generator's busiest process", _field("cpu")),
    Column("marked", "why the generator did not keep up; empty if it did", _field("marked")),
    Column("server_cpu", "cores used by the server", _sample("server", "cpu")),
    Column("server_rss_bytes", "resident memory of the server", _sample("server", "rss_bytes")),
    Column("server_descriptors", "open descriptors of the server", _sample("server", "descriptors")),
    Column("others_cpu", "cores used by other programs on this machine", _sample("machine", "others")),
    Column("stolen_cpu", "cores stolen by a hypervisor", _sample("machine", "stolen")),
    Column("slowest_us", "the slowest delivery, sent → received, µs", _sample("slowest", "us")),
    Column("slowest_bot", "its receiver", _sample("slowest", "bot")),
    Column("slowest_room", "its room", _sample("slowest", "room")),
    Column("slowest_seq", "its seq", _sample("slowest", "seq")),
    Column("standstill_us", "time in which nothing arrived anywhere, though messages were under way, µs",
           _field("standstill_us")),
    *(column for name, column in _FAULT_COLUMNS.items() if name in _LATER_FAULTS),
)  # fmt: skip
"""All columns, in the order of the file. p999 is the 99.9th percentile, p9999 the 99.99th."""


_NEW_COLUMNS: Final = frozenset(
    {*_LATER_FAULTS, "slowest_us", "slowest_bot", "slowest_room", "slowest_seq", "standstill_us"}
)
"""Columns that files of earlier versions lack."""


def encode(rows: Iterable[TimelineRow]) -> str:
    """Return the file's text, with a header; the fields of a latency without samples are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in COLUMNS])
    for row in rows:
        writer.writerow([column.value_of(row) for column in COLUMNS])
    return out.getvalue()


def decode(text: str) -> list[TimelineRow]:
    """Return the rows of a file. Raises `ValueError` with the column or line that is wrong."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    known = {*(reader.fieldnames or ()), *_NEW_COLUMNS}
    missing = [column.name for column in COLUMNS if column.name not in known]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"the timeline has no column {missing[0]}{more}")
    try:
        return [_decode_row(fields) for fields in reader]
    except (TypeError, ValueError, csv.Error) as error:  # a truncated line, an invalid number, invalid CSV
        raise ValueError(f"line {reader.line_num} of the timeline: {error}") from None


def _decode_row(fields: dict[str, str]) -> TimelineRow:
    server = None
    if fields["server_cpu"]:
        server = ServerSample(
            cpu=float(fields["server_cpu"]),
            rss_bytes=int(fields["server_rss_bytes"]),
            descriptors=int(fields["server_descriptors"]),
        )
    machine = None
    if fields["others_cpu"]:
        machine = MachineSample(others=float(fields["others_cpu"]), stolen=float(fields["stolen_cpu"]))
    slowest = None
    if fields.get("slowest_us"):
        slowest = SlowDelivery(
            us=int(fields["slowest_us"]),
            bot=fields["slowest_bot"],
            room=fields["slowest_room"],
            seq=int(fields["slowest_seq"]),
        )
    return TimelineRow(
        t=int(fields["t"]),
        unix=int(fields["unix"]),
        phase=fields["phase"],
        step=fields["step"],
        bots=int(fields["bots"]),
        connected=int(fields["connected"]),
        counts=_decode_counts(fields, COUNTS),
        faults=_decode_counts(fields, FAULTS),
        metrics={
            metric.name: _decode_quantiles(fields, metric.name)
            for metric in METRICS
            if int(fields[f"{metric.name}_count"])
        },
        loop_lag_max_us=int(fields["loop_lag_worst_us"]),
        cpu=float(fields["cpu"]),
        marked=fields["marked"],
        server=server,
        machine=machine,
        slowest=slowest,
        standstill_us=int(fields.get("standstill_us") or 0),
    )


def _decode_counts(fields: dict[str, str], names: Iterable[str]) -> dict[str, int]:
    missing = _NEW_COLUMNS - fields.keys()
    return {name: number for name in names if name not in missing and (number := int(fields[name]))}


def _decode_quantiles(fields: dict[str, str], metric: str) -> Quantiles:
    parts = {part: fields[f"{metric}_{part}_us"] for part in _QUANTILES}
    mean = float(parts.pop("mean"))
    return Quantiles(
        count=int(fields[f"{metric}_count"]), mean=mean, **{name: int(text) for name, text in parts.items()}
    )

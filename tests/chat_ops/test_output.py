"""Output formats: units, sparklines, JSON, CSV, and escaped control characters."""

import csv
import io
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from chat_ops.output import csv as as_csv
from chat_ops.output import formatting, jsonl, terminal
from chat_ops.output.spark import BARS, sparkline
from chat_ops.table import ReportColumn, ReportTable

# ruff: noqa: DTZ001  times are UTC without a zone
HOSTILE = (
    "\x1b]0;owned\x07\x1b[31mred\x9b0m\u202eright\u2066\x00\r\n\t\u200b\u2028\ud800[bold]x[/bold]:smile:"
)
COLUMNS = (
    ReportColumn("user", "user", "text"),
    ReportColumn("n", "n", "count"),
    ReportColumn("at", "at", "time"),
    ReportColumn("size", "size", "bytes", drop_order=1),
    ReportColumn("course", "course", "spark"),
)
ROW = (HOSTILE, 12345, datetime(2026, 11, 21, 9, 30), 2048, [0, 1, None, 4])
TABLE = ReportTable("t", HOSTILE, COLUMNS, [ROW, (None,) * 5], [HOSTILE])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(table: ReportTable, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    terminal.print_tables([table], out)
    return out.getvalue()


@pytest.mark.parametrize("upright", [True, False])
def test_no_escape_code_reaches_a_terminal(upright: bool) -> None:
    text = printed(ReportTable("t", HOSTILE, COLUMNS, [ROW], [HOSTILE], vertical=upright))
    assert all(char.isprintable() for char in text.replace("\n", ""))
    flat = "".join(line.strip() for line in text.splitlines())
    for escaped in (r"\x1b", r"\u202e", "[bold]", ":smile:"):
        assert escaped in flat


def test_on_a_terminal_the_only_codes_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = printed(TABLE, Terminal())
    assert "\x1b[" in coloured
    assert "\x1b]" not in coloured
    assert "\x9b" not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(TABLE, Terminal())


@pytest.mark.parametrize("write", [jsonl.write, as_csv.write])
def test_programs_get_no_escape_code_either(write) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    out = io.StringIO()
    write([TABLE], out)
    assert all(char.isprintable() for char in out.getvalue().replace("\n", ""))


def test_json_has_the_names_and_the_plain_values() -> None:
    out = io.StringIO()
    jsonl.write([TABLE, TABLE], out)
    first, empty, *_ = (json.loads(line) for line in out.getvalue().splitlines())
    assert first == {
        "table": "t",
        "user": HOSTILE,
        "n": 12345,
        "at": "2026-11-21T09:30:00Z",
        "size": 2048,
        "course": [0, 1, None, 4],
    }
    assert set(empty.values()) == {"t", None}


def test_csv_has_a_header_and_no_formulas() -> None:
    out = io.StringIO()
    as_csv.write([ReportTable("t", "", COLUMNS[:2], [("=1+1", -5), ("@a,b", None)]), TABLE], out)
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert rows[:4] == [["user", "n"], ["'=1+1", "-5"], ["'@a,b", ""], []]


def test_a_narrow_terminal_gets_fewer_columns_then_an_upright_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = ReportTable("t", "T", COLUMNS, [("x" * 28, *ROW[1:])])
    assert "2.0 KiB" in printed(table)
    monkeypatch.setenv("COLUMNS", "75")
    assert "2.0 KiB" not in printed(table)
    monkeypatch.setenv("COLUMNS", "40")
    for line in (narrow := printed(table)).splitlines():
        assert len(line) <= 40
    assert "12,345" in narrow


@given(
    st.lists(st.tuples(*[st.integers(10**8, 10**9)] * 6), min_size=1, max_size=3),
    st.integers(50, 170),
    st.integers(1, 90),
)
def test_terminal_table_too_wide_never_truncates_numbers(
    rows: list[tuple[int, ...]], width: int, seconds: int
) -> None:
    columns = [ReportColumn(f"n{n}", f"n{n}", "count") for n in range(6)]
    course = ReportColumn("course", "course", "spark")
    table = ReportTable("t", "", [*columns, course], [(*row, [*range(seconds)]) for row in rows])
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as shown:
        console.print(terminal.render_table(table, width))
    found = shown.get().split()
    assert all(f"{number:,}" in found for row in rows for number in row)
    assert all(len(line) <= width for line in shown.get().splitlines())


def test_terminal_table_wide_number_in_last_row_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    columns = [ReportColumn(f"n{n}", f"n{n}", "count") for n in range(6)]
    text = printed(ReportTable("t", "", columns, [*[(1,) * 6] * 300, (10**12,) * 6]))
    assert text.count("1,000,000,000,000") == 6


def test_columns_without_a_value_are_the_first_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [ReportColumn(name, name * 8, "count", drop_order=name in "bd") for name in "abcd"]
    table = ReportTable("t", "", columns, [(1, 2, None, 4)])
    shown = {}
    for width in (50, 38, 30):
        monkeypatch.setenv("COLUMNS", str(width))
        shown[width] = (lines := printed(table).splitlines())[0].split()
        assert ("too narrow for: dddddddd" in lines[-2]) == (width == 30)
    assert shown == {
        50: ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"],
        38: ["aaaaaaaa", "bbbbbbbb", "dddddddd"],
        30: ["aaaaaaaa", "bbbbbbbb"],
    }


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (None, "count", ""),
        (1_234_567, "count", "1,234,567"),
        (0.5, "rate", "0.5"),
        (12_345.6, "rate", "12,346"),
        (999, "bytes", "999 B"),
        (1536, "bytes", "1.5 KiB"),
        (3 << 40, "bytes", "3.0 TiB"),
        (250, "us", "250 µs"),
        (94_335, "us", "94.3 ms"),
        (1_000_447, "us", "1 s"),
        (0.4, "ms", "400 µs"),
        (99.94, "seconds", "99.9 s"),
        (3_725, "seconds", "1 h 02 min"),
        (605, "seconds", "10 min 05 s"),
        (200_000, "seconds", "2 d 07 h"),
        (12.345, "percent", "12.3 %"),
        ("odd", "count", "odd"),
        (datetime(2026, 1, 2, 3, 4, 5, 999), "time", "2026-01-02 03:04:05"),
    ],
)
def test_format_value_adds_units(value: object, kind: str, shown: str) -> None:
    assert formatting.format_value(value, kind) == shown  # type: ignore[arg-type]


@given(st.floats(0, 1e9), st.sampled_from(["us", "ms", "seconds", "bytes", "rate", "percent"]))
def test_format_value_accepts_any_number(value: float, kind: str) -> None:
    assert len(formatting.format_value(value, kind)) <= 16  # type: ignore[arg-type]


def test_a_sparkline_shows_shares_gaps_and_peaks() -> None:
    assert sparkline([0, 7, None, 4, 8]) == "▁█ ▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([*range(1000), 5], width=10)[-1] == BARS[-1]


@given(st.lists(st.none() | st.floats(0, 1e12)), st.integers(0, 50))
def test_a_sparkline_is_never_wider_than_asked(values: list[float | None], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == (min(width, len(values)) if width else len(values))
    assert set(line) <= {*BARS, " "}

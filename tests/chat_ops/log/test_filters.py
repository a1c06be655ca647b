"""Parsing of times, steps and filters, and error messages."""

import argparse
import contextlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ops.log import time_buckets
from chat_ops.log.cli_options import parse_filters
from chat_ops.log.errors import UsageError
from chat_ops.log.filters import point_in_time

# ruff: noqa: DTZ001  times are UTC without a zone
NOW = datetime(2026, 11, 21, 15, 45, 30)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-11-20", datetime(2026, 11, 20)),
        ("2026-11-20T14:30", datetime(2026, 11, 20, 14, 30)),
        ("2026-11-20 14:30:15.5", datetime(2026, 11, 20, 14, 30, 15, 500_000)),
        ("2026-11-20T14:30:00Z", datetime(2026, 11, 20, 14, 30)),
        ("2026-11-20T14:30:00+02:00", datetime(2026, 11, 20, 12, 30)),
        ("14:30", datetime(2026, 11, 21, 14, 30)),
        ("9:05:07", datetime(2026, 11, 21, 9, 5, 7)),
        ("90s", datetime(2026, 11, 21, 15, 44)),
        ("2h", datetime(2026, 11, 21, 13, 45, 30)),
        ("1h30m", datetime(2026, 11, 21, 14, 15, 30)),
        ("3d", datetime(2026, 11, 18, 15, 45, 30)),
        ("1w", datetime(2026, 11, 14, 15, 45, 30)),
        ("today", datetime(2026, 11, 21)),
        (" Yesterday ", datetime(2026, 11, 20)),
        ("now", NOW),
    ],
)
def test_point_in_time_accepts_documented_forms(text: str, means: datetime) -> None:
    assert point_in_time(text, NOW) == means


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow-ish", "25:00", "2026-13-01", "2h ago", "-2h", "999999w", "٣d", "14:30:99"],
)
def test_point_in_time_invalid_text_gives_error(text: str) -> None:
    with pytest.raises(UsageError, match="invalid time"):
        point_in_time(text, NOW)


@given(st.text())
def test_point_in_time_any_text_parses_or_gives_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert point_in_time(text, NOW).tzinfo is None


def test_filters_until_before_since_gives_error() -> None:
    with pytest.raises(UsageError, match="not before"):
        parse_filters(vars(argparse.Namespace(since="2026-11-21", until="2026-11-20")))


@pytest.mark.parametrize(("text", "width"), [("10s", 10), ("5m", 300), ("1h30m", 5400), ("1d", 86_400)])
def test_parse_width_accepts_documented_forms(text: str, width: int) -> None:
    assert time_buckets.parse_width(text) == width


@pytest.mark.parametrize("text", ["", "0s", "5", "m", "-5m", "1y"])
def test_parse_width_invalid_text_gives_error(text: str) -> None:
    with pytest.raises(UsageError, match="invalid step"):
        time_buckets.parse_width(text)


@given(st.sampled_from(time_buckets.ROUND_WIDTHS_S))
def test_format_width_round_trips(width: int) -> None:
    assert time_buckets.parse_width(time_buckets.format_width(width)) == width

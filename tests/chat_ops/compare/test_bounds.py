import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ops.compare import bounds as thresholds
from chat_ops.compare.metric_refs import LogMetrics
from chat_ops.log.errors import UsageError

BEFORE = LogMetrics(
    100, {"rtt.p99": 1000.0, "accept_to_commit.p99": 100.0, "commit_to_sent.p99": 100.0, "errors": 10.0}
)
NOW = LogMetrics(
    50,
    {
        "rtt.p99": 1300.0,
        "accept_to_commit.p99": 110.0,
        "commit_to_sent.p99": 150.0,
        "errors": 5.0,
        "lags": 2.0,
    },
)


def broken(text: str, before: LogMetrics = BEFORE, now: LogMetrics = NOW) -> bool:
    bounds = thresholds.parse_bounds(text)
    return any(
        outcome.broken for bound in bounds for outcome in thresholds.evaluate_bound(bound, before, now)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtt.p99>1.3ms", False),
        ("rtt.p99>=1.3ms", True),
        ("rtt.p99>1299us", True),
        ("rtt.p99>1299µs", True),
        ("rtt.p99>0.01s", False),
        ("rtt.p99>+29%", True),
        ("rtt.p99>+31%", False),
        ("rtt.p99>+0.2ms", True),
        ("rtt.p99>+0.3ms", False),
        ("rtt.p99<-10%", False),
        ("accept_to_commit.p99>+20%", False),
        ("latency.p99>+20%", True),  # of the two, one is
        ("latency.p99>+60%", False),
        ("errors>5", False),
        ("errors>4", True),
        ("errors>+1%", False),  # half as many in half the time
        ("errors<-1%", False),
        ("errors>0.09/s", True),
        ("errors>6/min", False),
        ("errors>=360/h", True),
        ("errors.rate_limited>0", False),  # a code that never came
        ("lags>1,errors>100", True),
        ("lags>5, errors>100", False),
        ("rtt.p50>1s", True),  # not measured: nobody can say that it is kept
    ],
)
def test_bounds(text: str, expected: bool) -> None:
    assert broken(text) is expected


def test_bound_growth_from_zero_breaks_any_percent() -> None:
    before = LogMetrics(10, {"errors": 0.0})
    assert broken("errors>+1000%", before, LogMetrics(10, {"errors": 1.0}))
    assert not broken("errors>+0%", before, LogMetrics(10, {"errors": 0.0}))
    assert thresholds.percent_change(0.0, 1.0) == math.inf


def test_parse_bounds_accepts_p99_9() -> None:
    [bound] = thresholds.parse_bounds("latency.p99.9>+5%")
    assert bound.names == ("accept_to_commit.p999", "commit_to_sent.p999")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "invalid bound"),
        ("errors", "invalid bound"),
        ("errors=0", "invalid bound"),
        ("errors>0,", "invalid bound"),
        ("latncy.p99>1ms", "did you mean latency.p99"),
        ("latency>1ms", "unknown metric"),
        ("latency.p98>1ms", "unknown metric"),
        ("rtt.p99>5", "write 5ms, 5us or 5s"),
        ("rtt.p99>5min", "missing time unit"),
        ("rtt.p99>20%", "rtt.p99>+20%"),
        ("errors>+5", "only percents"),
        ("errors>5ms", "invalid unit 'ms' for errors"),
        ("sessions.peak>5/s", "invalid unit '/s' for sessions.peak"),
        ("errors>many", "invalid limit"),
        ("errors>1e3", "invalid limit"),
        ("errors>nan", "invalid limit"),
    ],
)
def test_parse_bounds_invalid_text_gives_explanation(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="(?s)" + says.replace("+", r"\+")):
        thresholds.parse_bounds(text)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_parse_bounds_any_text_parses_or_gives_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        thresholds.parse_bounds(text)


@given(st.floats(1, 1e9), st.floats(1, 1e9), st.floats(0, 1000))
@settings(deadline=None)
def test_a_percent_is_of_the_baseline(was: float, value: float, percent: float) -> None:
    percent = round(percent, 3)
    found = broken(
        f"rtt.max>+{percent:.3f}%", LogMetrics(1, {"rtt.max": was}), LogMetrics(9, {"rtt.max": value})
    )
    assert found is (100 * (value - was) / was > percent)

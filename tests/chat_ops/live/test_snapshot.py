import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from chat_ops.live import dashboard, snapshot
from chat_ops.live.snapshot import Present
from support.log_files.report_runner import Row, histogram, interval, line


def told(*lines: Row, nodes: tuple[str, ...] = ()) -> Present:
    now = Present(nodes)
    for one in lines:
        now.take(json.dumps(one).encode())
    return now


def drawn(now: Present, width: int = 100, height: int = 40, *, color: bool = False) -> str:
    console = Console(
        width=width,
        height=height,
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as capture:
        console.print(dashboard.screen(now, "the.log", "q quits", width, height))
    return capture.get()


def test_rates_are_of_the_last_interval_and_add_up_over_nodes() -> None:
    now = told(
        interval(10, messages=500, sessions=3),
        interval(20, messages=100, sessions=4, deliveries=2000, errors={"bad_frame": 2}),
        interval(20, node="m", messages=50, sessions=1),
    )
    assert now.total("messages") == 15
    assert now.total("deliveries") == 200
    assert now.total("sessions") == 5
    assert now.errors == {"bad_frame": 2}
    assert [one.messages for one in now.history] == [50, 10, 5]


def test_percentiles_of_the_last_interval_and_of_the_last_few() -> None:
    now = told(*(interval(10 * n, commit_to_sent=histogram(*[100 * n] * 10)) for n in range(1, 9)))
    assert now.history[-1].p99["commit_to_sent"] == pytest.approx(800, rel=0.001)
    assert now.latency("commit_to_sent", 1).count == 10
    of_six = now.latency("commit_to_sent")
    assert of_six.count == 60
    assert of_six.percentile(1) == pytest.approx(300, rel=0.001)
    assert now.latency("rtt").percentile(50) is None


def test_who_is_slow_now() -> None:
    lags = [line(n, "reader_lagging", session_id=str(n), username=f"u{n}", behind=n * 10) for n in range(4)]
    now = told(*lags, line(5, "reader_caught_up", session_id="1"), line(6, "session_closed", session_id="2"))
    assert [one.username for one in now.slow.values()] == ["u0", "u3"]
    assert "30 behind" in drawn(now)
    assert told(*lags, line(9, "server_started")).slow == {}
    assert len(told(*lags, line(9, "server_started", node="another")).slow) == 4


def test_what_is_worth_a_look_is_among_the_events() -> None:
    now = told(
        line(1, "server_started", port=7000, stack="long " * 100),
        line(2, "session_opened"),
        line(3, "disk_low", level="warning", free_bytes=17),
        line(4, "message", room="hall"),
    )
    assert [one.event for one in now.events] == ["server_started", "disk_low"]
    assert (now.opened, now.closed) == (1, 0)
    screen = drawn(now)
    assert "disk_low  free_bytes=17" in screen
    assert "long" not in screen


def test_one_node_of_several() -> None:
    now = told(interval(10, messages=10), interval(10, node="m", messages=20), nodes=("m",))
    assert list(now.nodes) == ["m"]


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MOST_NODES", "MOST_SLOW", "MOST_KINDS"):
        monkeypatch.setattr(snapshot, bound, 7)
    now = told(
        *(interval(n, node=f"n{n}", errors={f"e{n}": 1}, rtt=histogram(5)) for n in range(500)),
        *(line(n, "reader_lagging", session_id=str(n), level="warning") for n in range(500)),
    )
    assert len(now.nodes) == len(now.slow) == len(now.errors) == 7
    assert len(now.history) == snapshot.HISTORY
    assert len(now.events) == snapshot.MOST_EVENTS


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: json.dumps(text).encode())))
@settings(deadline=None)
def test_what_is_no_log_line_is_counted(data: bytes) -> None:
    now = Present()
    now.take(data)
    assert now.bad == bool(data.strip())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        "interval_s",
        "sessions",
        "messages",
        "errors",
        "closed",
        "refused",
        "rtt",
        "node",
        "level",
        "session_id",
        "behind",
    ]
)
events = st.sampled_from(["interval", "reader_lagging", "session_closed", "server_started", "x"])


@given(st.lists(st.tuples(events, st.dictionaries(names, values, max_size=6)), max_size=4))
@settings(max_examples=50, deadline=None)
def test_no_field_of_a_wrong_kind_does_harm(lines: list[tuple[str, Row]]) -> None:
    now = told(*({"ts": "2026-11-21T09:00:00Z", "event": event, **fields} for event, fields in lines))
    assert now.bad == 0
    drawn(now)
    for one in now.history:
        assert "\x1b" not in dashboard.line(one)


def test_escape_codes_and_turned_text_reach_no_terminal() -> None:
    evil = "\x1b[31m\x9b31m\u202ered\r\n\x07"
    now = told(
        interval(10, node=evil, errors={evil: 1}),
        line(1, "reader_lagging", level=evil, session_id=evil, username=evil, address=evil),
        line(2, evil, level="error", error=evil, **{evil: evil}),
    )
    screen = drawn(now)
    assert "red" in screen
    for forbidden in ("\x1b", "\x9b", "\u202e", "\x07", "\r"):
        assert forbidden not in screen
    assert "\x1b" in drawn(now, color=True)  # ours


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60)])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    lags = [
        line(n, "reader_lagging", level="warning", session_id=str(n), username="u" * 90) for n in range(40)
    ]
    now = told(*(interval(10 * n, messages=n, rtt=histogram(n)) for n in range(1, 300)), *lags)
    lines = drawn(now, width, height).splitlines()
    assert max(len(one) for one in lines) <= width
    if height >= 24:
        assert len(lines) <= height
        assert "events" in "".join(lines)


def test_a_hostile_log_is_survived(hostile_log: Path) -> None:
    now = Present()
    for text in hostile_log.read_bytes().split(b"\n"):
        now.take(text)
    assert now.bad > 0
    assert now.lines > 0
    drawn(now)

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from chat_ops.live import dashboard, snapshot
from chat_ops.live.snapshot import ServerSnapshot
from support.log_files.report_runner import Row, encoded_histogram, interval_line, log_line


def snapshot_of(*lines: Row, nodes: tuple[str, ...] = ()) -> ServerSnapshot:
    now = ServerSnapshot(nodes)
    for one in lines:
        now.add_line(json.dumps(one).encode())
    return now


def drawn(now: ServerSnapshot, width: int = 100, height: int = 40, *, color: bool = False) -> str:
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
        console.print(dashboard.render_screen(now, "the.log", "q quits", width, height))
    return capture.get()


def test_rates_are_of_the_last_interval_and_add_up_over_nodes() -> None:
    now = snapshot_of(
        interval_line(10, messages=500, sessions=3),
        interval_line(20, messages=100, sessions=4, deliveries=2000, errors={"bad_frame": 2}),
        interval_line(20, node="m", messages=50, sessions=1),
    )
    assert now.total("messages") == 15
    assert now.total("deliveries") == 200
    assert now.total("sessions") == 5
    assert now.errors == {"bad_frame": 2}
    assert [one.messages for one in now.history] == [50, 10, 5]


def test_percentiles_of_the_last_interval_and_of_the_last_few() -> None:
    now = snapshot_of(
        *(interval_line(10 * n, commit_to_sent=encoded_histogram(*[100 * n] * 10)) for n in range(1, 9))
    )
    assert now.history[-1].p99["commit_to_sent"] == pytest.approx(800, rel=0.001)
    assert now.latency("commit_to_sent", 1).count == 10
    of_six = now.latency("commit_to_sent")
    assert of_six.count == 60
    assert of_six.percentile(1) == pytest.approx(300, rel=0.001)
    assert now.latency("rtt").percentile(50) is None


def test_snapshot_lists_slow_readers_until_caught_up_or_closed() -> None:
    lags = [
        log_line(n, "reader_lagging", session_id=str(n), username=f"u{n}", behind=n * 10) for n in range(4)
    ]
    now = snapshot_of(
        *lags, log_line(5, "reader_caught_up", session_id="1"), log_line(6, "session_closed", session_id="2")
    )
    assert [one.username for one in now.slow_readers.values()] == ["u0", "u3"]
    assert "30 behind" in drawn(now)
    assert snapshot_of(*lags, log_line(9, "server_started")).slow_readers == {}
    assert len(snapshot_of(*lags, log_line(9, "server_started", node="another")).slow_readers) == 4


def test_what_is_worth_a_look_is_among_the_events() -> None:
    now = snapshot_of(
        log_line(1, "server_started", port=7000, stack="long " * 100),
        log_line(2, "session_opened"),
        log_line(3, "disk_low", level="warning", free_bytes=17),
        log_line(4, "message", room="hall"),
    )
    assert [one.event for one in now.events] == ["server_started", "disk_low"]
    assert (now.opened, now.closed) == (1, 0)
    screen = drawn(now)
    assert "disk_low  free_bytes=17" in screen
    assert "long" not in screen


def test_one_node_of_several() -> None:
    now = snapshot_of(interval_line(10, messages=10), interval_line(10, node="m", messages=20), nodes=("m",))
    assert list(now.nodes) == ["m"]


def test_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MAX_NODES", "MAX_SLOW_READERS", "MAX_KINDS"):
        monkeypatch.setattr(snapshot, bound, 7)
    now = snapshot_of(
        *(interval_line(n, node=f"n{n}", errors={f"e{n}": 1}, rtt=encoded_histogram(5)) for n in range(500)),
        *(log_line(n, "reader_lagging", session_id=str(n), level="warning") for n in range(500)),
    )
    assert len(now.nodes) == len(now.slow_readers) == len(now.errors) == 7
    assert len(now.history) == snapshot.HISTORY_INTERVALS
    assert len(now.events) == snapshot.MAX_EVENTS


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: json.dumps(text).encode())))
@settings(deadline=None)
def test_what_is_no_log_line_is_counted(data: bytes) -> None:
    now = ServerSnapshot()
    now.add_line(data)
    assert now.bad_lines == bool(data.strip())


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
    now = snapshot_of(*({"ts": "2026-11-21T09:00:00Z", "event": event, **fields} for event, fields in lines))
    assert now.bad_lines == 0
    drawn(now)
    for one in now.history:
        assert "\x1b" not in dashboard.format_interval(one)


def test_escape_codes_and_turned_text_reach_no_terminal() -> None:
    evil = "\x1b[31m\x9b31m\u202ered\r\n\x07"
    now = snapshot_of(
        interval_line(10, node=evil, errors={evil: 1}),
        log_line(1, "reader_lagging", level=evil, session_id=evil, username=evil, address=evil),
        log_line(2, evil, level="error", error=evil, **{evil: evil}),
    )
    screen = drawn(now)
    assert "red" in screen
    for forbidden in ("\x1b", "\x9b", "\u202e", "\x07", "\r"):
        assert forbidden not in screen
    assert "\x1b" in drawn(now, color=True)  # ours


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60)])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    lags = [
        log_line(n, "reader_lagging", level="warning", session_id=str(n), username="u" * 90)
        for n in range(40)
    ]
    now = snapshot_of(
        *(interval_line(10 * n, messages=n, rtt=encoded_histogram(n)) for n in range(1, 300)), *lags
    )
    lines = drawn(now, width, height).splitlines()
    assert max(len(one) for one in lines) <= width
    if height >= 24:
        assert len(lines) <= height
        assert "events" in "".join(lines)


def test_a_hostile_log_is_survived(hostile_log: Path) -> None:
    now = ServerSnapshot()
    for text in hostile_log.read_bytes().split(b"\n"):
        now.add_line(text)
    assert now.bad_lines > 0
    assert now.lines > 0
    drawn(now)

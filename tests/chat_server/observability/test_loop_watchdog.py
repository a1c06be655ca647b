import gc
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import gevent
import greenlet
import pytest
from gevent.event import Event

from chat_server.observability import loop_watchdog
from chat_server.observability.loop_watchdog import LagSummary, LoopLagMeter, LoopWatchdog, greenlet_stacks

SERVER = Path(__file__).parents[3] / "server"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lag(clock: Clock) -> Iterator[LoopLagMeter]:
    lag = LoopLagMeter(clock)
    lag.start()
    yield lag
    lag.stop()


def until(condition: Callable[[], object]) -> None:
    while not condition():
        gevent.sleep(0.005)


# ---- LoopLagMeter


def rounded(lag: LagSummary) -> LagSummary:
    return LagSummary(round(lag.max_ms, 3), lag.tally)


def test_meter_of_punctual_loop_has_no_lag(lag: LoopLagMeter, clock: Clock) -> None:
    clock.now += 0.1
    lag._tick()
    clock.now += 0.1004
    lag._tick()
    assert rounded(lag.take_summary()) == LagSummary(0.4, {0: 2})


def test_meter_lag_is_time_beyond_the_interval(lag: LoopLagMeter, clock: Clock) -> None:
    for gap in (0.1, 0.35, 0.107):
        clock.now += gap
        lag._tick()
    assert rounded(lag.take_summary()) == LagSummary(250, {0: 1, 250: 1, 7: 1})


def test_take_summary_resets_the_meter(lag: LoopLagMeter, clock: Clock) -> None:
    clock.now += 0.2
    lag._tick()
    lag.take_summary()
    assert lag.take_summary() == LagSummary(0.0, {})


def test_take_summary_includes_overdue_tick(lag: LoopLagMeter, clock: Clock) -> None:
    clock.now += 3.1
    assert rounded(lag.take_summary()) == LagSummary(3000, {})


def test_meter_ticks_a_whole_interval_after_a_late_tick() -> None:
    lag = LoopLagMeter()
    lag.start()
    beats = [lag.last_ran_at]
    while len(beats) < 5:
        free = time.monotonic() + 0.07  # busy, with the timers polled in between
        while time.monotonic() < free:
            pass
        gevent.sleep(0.001)
        if lag.last_ran_at != beats[-1]:
            beats.append(lag.last_ran_at)
    lag.stop()
    assert min(after - before for before, after in pairwise(beats)) > 0.095
    assert sum(lag.take_summary().tally.values()) == 4


def test_meter_does_not_keep_loop_alive() -> None:
    code = (
        "import gevent; from chat_server.observability.loop_watchdog import LoopLagMeter; "
        "LoopLagMeter().start(); gevent.wait()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SERVER, check=True, timeout=60)


# ---- LoopWatchdog


BLOCKER = """
    import sys, time, gevent
    from chat_server.observability.loop_watchdog import LoopLagMeter, LoopWatchdog

    reports = []

    def count_every_grain_of_sand():
        while not reports:  # busy until the watchdog has reported
            sum(range(1000))

    lag = LoopLagMeter()
    lag.start()
    watch = LoopWatchdog(
        lag,
        lambda stack, seconds: reports.append(("blocked", seconds, stack)),
        lambda seconds: reports.append(("free", seconds, "")),
        blocked_after_s=0.5,
    )
    watch.start()
    gevent.sleep(0.3)
    count_every_grain_of_sand()
    while len(reports) < 2:
        gevent.sleep(0.01)
    watch.stop()
    for what, seconds, stack in reports:
        print(what, seconds > 0.5, stack)
"""


def test_watchdog_reports_blocked_loop_once_with_stack() -> None:
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKER)],
        cwd=SERVER,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = run.stdout.splitlines()
    assert lines[0].startswith("blocked True")
    assert "count_every_grain_of_sand" in run.stdout
    assert [line for line in lines if line.startswith(("blocked", "free"))] == [lines[0], "free True "]


class Reports:
    """A watchdog whose thread is not started: the test calls its checks."""

    def __init__(self, lag: LoopLagMeter) -> None:
        self.said: list[object] = []
        self.watch = LoopWatchdog(lag, self.blocked, self.said.append)
        self.look = self.watch._check

    def blocked(self, stack: str, seconds: float) -> None:
        assert "test_loop_watchdog" in stack
        self.said.append(f"blocked {seconds:g}")


@pytest.fixture
def reports(lag: LoopLagMeter) -> Reports:
    return Reports(lag)


def test_watchdog_reports_end_of_blockage_with_duration(
    lag: LoopLagMeter, clock: Clock, reports: Reports
) -> None:
    clock.now += 0.9
    reports.look()
    assert reports.said == []

    clock.now += 0.25
    reports.look()
    clock.now += 2
    reports.look()
    assert reports.said == ["blocked 1.15"]

    clock.now += 1
    lag._tick()
    clock.now += 0.1
    lag._tick()  # runs again before the next check
    reports.look()
    assert reports.said == ["blocked 1.15", pytest.approx(4.15)]


def test_watchdog_reports_second_blockage_separately(
    lag: LoopLagMeter, clock: Clock, reports: Reports
) -> None:
    clock.now += 2
    reports.look()
    lag._tick()
    clock.now += 3
    reports.look()
    assert reports.said == ["blocked 2", pytest.approx(2.0), "blocked 3"]


def test_watchdog_failing_callback_is_not_repeated(lag: LoopLagMeter, clock: Clock) -> None:
    calls: list[str] = []

    def fail(_stack: str, _seconds: float) -> None:
        calls.append("blocked")
        raise RuntimeError

    watching = LoopWatchdog(lag, fail, lambda _seconds: calls.append("free"))
    clock.now += 2
    with pytest.raises(RuntimeError):
        watching._check()
    watching._check()
    lag._tick()
    watching._check()
    assert calls == ["blocked", "free"]


def test_watchdog_thread_survives_failing_callback() -> None:
    lag = LoopLagMeter()  # not started: to the watchdog the loop is blocked at once
    failed, freed = threading.Event(), threading.Event()

    def fail(_stack: str, _seconds: float) -> None:
        failed.set()
        raise RuntimeError

    watching = LoopWatchdog(lag, fail, lambda _seconds: freed.set(), blocked_after_s=0)
    watching.start()
    assert failed.wait(60)
    lag._tick()
    assert freed.wait(60)
    watching.stop()
    lag.stop()
    assert not watching._thread.is_alive()


def test_watchdog_checks_at_most_four_times_a_second() -> None:
    assert loop_watchdog.CHECK_INTERVAL_S >= 0.25


# ---- greenlet_stacks


def wait_for_the_bell(bell: Event) -> None:
    bell.wait()


def wait_in_a_raw_greenlet() -> None:
    greenlet.getcurrent().parent.switch()


@pytest.mark.parametrize("frozen", [False, True])
def test_greenlet_stacks_groups_equal_stacks(frozen: bool) -> None:
    bell = Event()
    waiting = [gevent.spawn(wait_for_the_bell, bell) for _ in range(50)]
    gevent.sleep(0)
    raw = greenlet.greenlet(wait_in_a_raw_greenlet)
    raw.switch()
    new = gevent.spawn(wait_for_the_bell, bell)
    if frozen:
        gc.freeze()
    try:
        text = greenlet_stacks()
        assert not frozen or gc.get_freeze_count() > 0
    finally:
        if frozen:
            gc.unfreeze()
        bell.set()
        gevent.joinall([*waiting, new])
        raw.switch()

    assert text.count("in wait_for_the_bell") == 1
    assert "50 x greenlet\n" in text
    assert "in wait_in_a_raw_greenlet" in text
    assert "test_greenlet_stacks_groups_equal_stacks" in text  # the running one
    assert "(has not started)" in text
    assert text.index("50 x") < text.index("1 x")


def test_greenlet_stacks_names_native_threads() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="a-native-thread")
    thread.start()
    text = greenlet_stacks()
    done.set()
    thread.join()
    assert "1 x thread a-native-thread\n" in text


def test_greenlet_stacks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watchdog, "MAX_STACKS", 1)
    bell = Event()
    waiting = [gevent.spawn(wait_for_the_bell, bell), gevent.spawn(bell.wait)]
    gevent.sleep(0)
    text = greenlet_stacks()
    bell.set()
    gevent.joinall(waiting)
    assert text.count(" x greenlet\n") + text.count(" x thread") == 1
    assert "more stacks" in text

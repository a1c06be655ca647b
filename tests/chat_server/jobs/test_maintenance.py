"""Retention rounds of the maintenance, and retries of the commit loop."""

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.engine import IndexRebuilt, Unreadable
from chat_server.engines.memory import MemoryEngine
from chat_server.jobs import commit_loop, maintenance
from chat_server.jobs.commit_loop import CommitLoop, CommitWakeup
from chat_server.jobs.maintenance import StoreMaintenance
from chat_server.vocabulary import LogEvent

Lines = list[tuple[str, LogEvent, dict[str, Any]]]


class Log:
    """A logger that records its lines."""

    def __init__(self) -> None:
        self.lines: Lines = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((level, event, fields))


class Store(MemoryEngine):
    """A store whose `trim` returns or raises the given answers in turn, then returns nothing."""

    def __init__(self, *answers: dict[int, int] | Exception) -> None:
        super().__init__(10)
        self.answers = list(answers)
        self.asked: list[tuple[int, float]] = []

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        self.asked.append((keep, before))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "TRIM_PAUSE_S", 0.0)
    monkeypatch.setattr(maintenance, "MAINTENANCE_INTERVAL_S", 0.0)


@pytest.fixture
def start(log: Log) -> Iterator[Callable[..., None]]:
    """Return a function that starts a maintenance; it is stopped after the test."""
    greenlets: list[gevent.Greenlet] = []

    def start(store: MemoryEngine, **settings: Any) -> None:
        unused: Any = None
        logger: Any = log
        maintenance_job = StoreMaintenance(logger, store, unused, disk_warning_bytes=0, **settings)
        greenlets.append(gevent.spawn(maintenance_job.run))

    yield start
    gevent.killall(greenlets)


def until(condition: Callable[[], object]) -> None:
    for _ in range(10_000):
        if condition():
            return
        gevent.sleep(0.0005)
    pytest.fail("the condition never became true")


def turns(count: int = 30) -> None:
    """Let other greenlets run `count` times."""
    for _ in range(count):
        gevent.sleep(0.0)


def test_maintenance_trims_until_done_and_reports_each_step(start: Callable[..., None], log: Log) -> None:
    store = Store({1: 10}, {1: 20, 2: 5})
    reported: list[dict[int, int]] = []
    start(store, retention_messages=7, on_trimmed=reported.append)
    until(lambda: len(store.asked) == 3)
    turns()
    assert store.asked == [(7, 0.0)] * 3  # and not again before the interval
    assert reported == [{1: 10}, {1: 20, 2: 5}]
    assert log.lines == [("info", LogEvent.TRIMMED, {"count": 2})]


def test_maintenance_starts_a_new_round_after_the_interval(
    start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL_S", 0.0)
    store = Store()
    start(store, retention_messages=7)
    until(lambda: len(store.asked) > 3)


def test_maintenance_round_is_bounded_and_continued(
    start: Callable[..., None], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TRIM_STEPS_PER_ROUND", 4)
    store = Store(*({1: seq} for seq in range(1, 11)))
    start(store, retention_messages=7)
    until(lambda: len(store.asked) == 11)
    turns()
    assert len(store.asked) == 11
    assert [line[1:] for line in log.lines] == [(LogEvent.TRIMMED, {"count": 1})] * 3


def test_maintenance_age_follows_a_clock_set_back(
    start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL_S", 0.0)
    times = [1000.0, 400.0, 50.0]
    store = Store()
    start(store, retention_seconds=100.0, clock=lambda: times.pop(0) if len(times) > 1 else times[0])
    until(lambda: len(store.asked) >= 3)
    assert store.asked[:3] == [(0, 900.0), (0, 300.0), (0, 0.0)]  # 0: nothing is older


def test_maintenance_without_limits_deletes_messages_of_ended_rooms(start: Callable[..., None]) -> None:
    store = Store({1: 10})
    start(store)
    until(lambda: len(store.asked) == 2)
    assert store.asked == [(0, 0.0)] * 2


def test_maintenance_logs_failing_trim_once_and_retries(
    start: Callable[..., None], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL_S", 0.0)
    trouble = StoreUnavailable("disk I/O error")
    store = Store({1: 1}, trouble, trouble, RuntimeError("ours"), {2: 2})
    start(store, retention_messages=7)
    until(lambda: not store.answers)
    turns()
    assert [(level, event) for level, event, _ in log.lines] == [
        ("warning", LogEvent.INDEX_FAILED),
        ("info", LogEvent.TRIMMED),  # the step before the error
        ("error", LogEvent.INTERNAL_ERROR),
        ("info", LogEvent.TRIMMED),
    ]


class Pausable:
    """A commit loop that notes when it is paused."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class LongWal(MemoryEngine):
    """A store whose write-ahead log has these sizes in turn, with and without `truncate`."""

    pause_above_bytes = 100

    def __init__(self, *sizes: int) -> None:
        super().__init__(10)
        self.sizes = list(sizes)
        self.truncated: list[bool] = []

    def maintain(self, *, truncate: bool = False) -> int:
        if not self.sizes:
            return 0
        self.truncated.append(truncate)
        return self.sizes.pop(0)


def test_maintenance_logs_once_that_the_wal_cannot_be_emptied_and_when_it_is(log: Log) -> None:
    store, commits = LongWal(50, 120, 110, 130, 130, 140, 0, 120, 0), Pausable()
    logger: Any = log
    job = StoreMaintenance(logger, store, commits, disk_warning_bytes=0)  # type: ignore[arg-type]
    running = gevent.spawn(job.run)
    try:
        until(lambda: not store.sizes)
        turns()
    finally:
        running.kill()
    assert store.truncated == [False, False, True, False, True, False, True, False, True]
    assert commits.calls == ["pause", "resume"] * 4
    assert [(level, fields["reason"], fields["wal_bytes"]) for level, _, fields in log.lines] == [
        ("warning", "blocked", 110),
        ("info", "emptied", 140),
        ("info", "emptied", 120),
    ]
    assert {event for _, event, _ in log.lines} == {LogEvent.WAL_LARGE}


def test_maintenance_logs_what_the_store_has_found_out(start: Callable[..., None], log: Log) -> None:
    notices: list[Any] = [
        Unreadable("lobby", 7, 9, "row 3: damaged"),
        Unreadable("", 4, 4, "row 4: damaged"),
        IndexRebuilt("damaged", 10, 0.5),
        IndexRebuilt("outdated", 10, 0.0),
    ]
    store = Store()
    store.take_notices = lambda: [notices.pop(0)] if notices else []  # type: ignore[method-assign]
    start(store)
    until(lambda: len(log.lines) == 4)
    turns()
    rebuilt = {"count": 10}
    assert log.lines == [
        (
            "error",
            LogEvent.ROW_UNREADABLE,
            {"error": "row 3: damaged", "room": "lobby", "seq": 7, "last_seq": 9},
        ),
        ("error", LogEvent.ROW_UNREADABLE, {"error": "row 4: damaged"}),
        ("warning", LogEvent.INDEX_REBUILT, {"reason": "damaged", "duration_s": 0.5, **rebuilt}),
        ("info", LogEvent.INDEX_REBUILT, {"reason": "outdated", "duration_s": 0.0, **rebuilt}),
    ]


class Failing:
    """A committer whose first `failures` commits fail, and its empty ingest."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.commits = self.queued_bytes = self.refused_messages = 0
        self.last_error: str | None = None

    def commit(self) -> None:
        self.commits += 1
        self.last_error = "locked" if self.commits <= self.failures else None


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_commit_loop_retries_failing_store_until_it_works(
    log: Log, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(commit_loop, "STORE_RETRY_INTERVAL_S", 0.0)
    logger: Any = log
    committer: Any = Failing(failures)
    wakeup = CommitWakeup()
    commit_loop_job = CommitLoop(logger, "the store", committer, committer, wakeup)
    running = gevent.spawn(commit_loop_job.run)
    try:
        wakeup.wake()  # once: no more messages arrive
        until(lambda: committer.commits > failures)
        turns()
        assert committer.commits == failures + 1  # no retry after a success
    finally:
        running.kill()
    reported = [event for _, event, _ in log.lines]
    assert reported == ([LogEvent.STORE_FAILED, LogEvent.STORE_RECOVERED] if failures else [])

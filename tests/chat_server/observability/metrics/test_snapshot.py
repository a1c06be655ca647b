"""Snapshots: totals that only grow, taken without iterating over sessions."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from chat_server.core.base.interval_stats import IntervalStats
from chat_server.observability.loop_watchdog import LagSummary
from chat_server.observability.metrics.exposition import Format, render_page
from chat_server.observability.metrics.snapshot import MetricsCollector
from chat_server.observability.metrics.table import LATENCY_BOUNDS_S, METRICS, MetricType
from support.processes.scrape import Scrape

Bunch: Final[Any] = SimpleNamespace


class Crowd(dict[str, Any]):
    """Sessions that must not be iterated over."""

    def __len__(self) -> int:
        return 10_000

    def __iter__(self) -> Iterator[str]:
        self.fail()

    def items(self) -> NoReturn:
        self.fail()

    values = keys = items

    @staticmethod
    def fail() -> NoReturn:
        pytest.fail("a snapshot iterates over sessions")


class Stage:
    """The parts of a server that metrics read."""

    def __init__(self) -> None:
        self.hub: Any = Bunch(
            stats=IntervalStats(),
            sessions=Crowd(),
            resumable=Bunch(held_count=3),
            backfill=Bunch(lagging_sessions=Crowd()),
            rooms=Crowd(),
            conversations=Bunch(by_name=Crowd()),
            ingest=Bunch(queued_bytes=17),
        )
        self.disk_sizes: Callable[[], dict[str, int]] = lambda: {
            "store_bytes": 1,
            "wal_bytes": 2,
            "free_bytes": 3,
        }
        self.metrics = MetricsCollector(
            {
                "greenroom_build_info": {("1.0", "east-1", "sqlite", "normal"): 1},
                "greenroom_epoch_changed": False,
                "greenroom_queue_limit_bytes": 100,
                "greenroom_disk_warning_bytes": 200,
            },
            self.hub,
            Bunch(refused_messages=0),
            Bunch(registered=Crowd(), unnamed=Crowd()),
            self._read_disk_sizes,
            Bunch(lines_dropped=4, write_failures=5),
            Bunch(not_ready_reason=lambda: "", store_failing=False, unreadable_messages=0),
            lambda: 20_000,
        )

    def _read_disk_sizes(self) -> dict[str, int]:
        return self.disk_sizes()

    @property
    def stats(self) -> IntervalStats:
        stats: IntervalStats = self.hub.stats
        return stats

    def scrape(self) -> Scrape:
        return Scrape(render_page(self.metrics.take_snapshot().values(), Format.TEXT).decode())

    def interval(self, bytes_direct: int = 0, lags: dict[int, int] | None = None) -> None:
        self.metrics.add_interval(LagSummary(0.0, lags or {}), bytes_direct)
        self.hub.stats = IntervalStats()


def test_every_row_of_the_table_is_on_the_page_and_nothing_else() -> None:
    stage = Stage()
    values = stage.metrics.take_snapshot().values()
    # process_open_fds needs a Linux from 2023 on
    assert set(values) | {"process_open_fds"} == {row.name for row in METRICS}
    families = stage.scrape().families
    for row in METRICS:
        if row.name in values:
            name = row.name.removesuffix("_total") if row.kind is MetricType.COUNTER else row.name
            assert families[name].type == row.kind
            assert families[name].documentation == row.meaning


def test_both_formats_have_the_same_values() -> None:
    stage = Stage()
    stage.stats.accept_to_commit = {70: 2, 1_000_000: 1}
    values = stage.metrics.take_snapshot().values()
    text = Scrape(render_page(values, Format.TEXT).decode()).series
    openmetrics = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in openmetrics_families(render_page(values, Format.OPENMETRICS).decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert openmetrics == text


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format.OPENMETRICS),
        ("application/openmetrics-text; version=nonsense", Format.OPENMETRICS),
    ],
)
def test_the_scraper_chooses_the_format(accept: str, form: Format) -> None:
    assert Format.wanted(accept) is form


def test_default_registry_stays_empty() -> None:
    Stage().scrape()
    assert not any(family.name.startswith("greenroom") for family in REGISTRY.collect())


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.integers(1, 30_000_000)),
        st.tuples(st.just("closed"), st.sampled_from(["quit", "reset", "errno_113", "errno_110"])),
        st.tuples(st.just("interval"), st.integers(0, 500)),
        st.tuples(st.just("scrape"), st.none()),
    ),
    max_size=40,
)


@given(happenings)
def test_counters_in_any_play_grow_and_miss_nothing(story: list[tuple[str, Any]]) -> None:
    # Given messages, ends of sessions, and intervals at any time between them
    stage = Stage()
    took: list[int] = []
    ends: list[str] = []
    direct = 0
    before: dict[Any, float] = {}
    for what, value in [*story, ("scrape", None)]:
        if what == "message":
            took.append(value)
            stage.stats.messages += 1
            stage.stats.bytes_out += 10
            stage.stats.accept_to_commit[value] = stage.stats.accept_to_commit.get(value, 0) + 1
        elif what == "closed":
            ends.append(value)
            stage.stats.closed[value] += 1
        elif what == "interval":
            direct += value
            stage.interval(direct)
        else:
            # When it is scraped, then no counter has decreased
            now = stage.scrape().counters()
            assert all(now[series] >= count for series, count in before.items())
            assert not before or now.keys() == before.keys()
            before = now

    # And in the end everything is counted, once
    scrape = stage.scrape()
    assert scrape.value("greenroom_messages_total") == len(took)
    assert scrape.value("greenroom_sent_bytes_total") == 10 * len(took) + direct
    for reason in ("quit", "reset"):
        assert scrape.value("greenroom_sessions_closed_total", reason=reason) == ends.count(reason)
    others = sum(end.startswith("errno") for end in ends)
    assert scrape.value("greenroom_sessions_closed_total", reason="other") == others
    name = "greenroom_accept_to_commit_seconds"
    assert scrape.value(f"{name}_count") == len(took)
    assert scrape.value(f"{name}_sum") == pytest.approx(sum(took) / 1e6)
    for bound in LATENCY_BOUNDS_S:
        counted = scrape.value(f"{name}_bucket", le=str(bound))
        assert counted == sum(value <= round(bound * 1e6) for value in took)


def test_scrape_does_not_change_interval_counts() -> None:
    stage = Stage()
    stage.stats.rtt = {5: 1}
    stage.stats.errors["forbidden"] += 1
    for _ in range(3):
        assert stage.scrape().value("greenroom_rtt_seconds_count") == 1
    assert stage.stats.rtt == {5: 1}
    assert stage.stats.errors == {"forbidden": 1}


def test_loop_lag_is_in_seconds() -> None:
    stage = Stage()
    stage.interval(lags={0: 90, 3: 9, 1200: 1})
    scrape, name = stage.scrape(), "greenroom_loop_lag_seconds"
    assert scrape.value(f"{name}_bucket", le="0.001") == 90
    assert scrape.value(f"{name}_bucket", le="0.005") == 99
    assert scrape.value(f"{name}_bucket", le="1.0") == 99
    assert scrape.value(f"{name}_count") == 100
    assert scrape.value(f"{name}_sum") == pytest.approx(1.227)


def test_missing_data_folder_omits_disk_metrics_only() -> None:
    stage = Stage()

    def gone() -> NoReturn:
        raise FileNotFoundError

    stage.disk_sizes = gone
    scrape = stage.scrape()
    assert "greenroom_free_bytes" not in scrape.families
    assert scrape.value("greenroom_sessions") == 10_000


def test_process_metrics_equal_those_of_prometheus_client() -> None:
    scrape = Stage().scrape()
    usual = {"process_resident_memory_bytes", "process_start_time_seconds", "process_max_fds"}
    theirs = {sample.name: sample.value for family in REGISTRY.collect() for sample in family.samples}
    for name in usual:
        assert scrape.value(name) == pytest.approx(theirs[name], rel=0.05)
    assert scrape.value("process_cpu_seconds_total") == pytest.approx(
        theirs["process_cpu_seconds_total"], abs=1
    )


def test_value_equal_to_bound_is_in_its_bucket() -> None:
    assert bisect_left([50, 100], 100) == 1  # as Prometheus: le, not lt
    stage = Stage()
    stage.stats.rtt = {100: 1}
    scrape = stage.scrape()
    assert scrape.value("greenroom_rtt_seconds_bucket", le="0.0001") == 1
    assert scrape.value("greenroom_rtt_seconds_bucket", le="5e-05") == 0

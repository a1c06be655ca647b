"""The recorder's histograms equal those of samples recorded one by one."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import COUNTS
from chat_swarm.model.recorder import Recorder

DAY_NS = 86_400 * 10**9
NOW_NS = 1_800_000_000 * 10**9
WAITS_NS = st.integers(0, 10**10)
SAMPLE = st.tuples(st.integers(0, DAY_NS), WAITS_NS, WAITS_NS, WAITS_NS)
SPARSE = st.tuples(st.sampled_from(["rtt", "bot_lag", "connect", "send_lag", "catch_up"]), WAITS_NS)


def naive(samples: dict[str, list[int]]) -> dict[str, list[tuple[int, int]]]:
    found = {}
    for name, values in samples.items():
        histogram = Histogram()
        for value in values:
            histogram.record(np.array([value // 1000], dtype=np.int64))
        found[name] = histogram.buckets()
    return found


@given(st.lists(SAMPLE, max_size=10), st.lists(SAMPLE, max_size=10), st.lists(SPARSE, max_size=10))
def test_flush_histograms_equal_those_of_single_samples(
    deliveries: list[tuple[int, int, int, int]],
    acks: list[tuple[int, int, int, int]],
    sparse: list[tuple[str, int]],
) -> None:
    recorder = Recorder()
    wanted: dict[str, list[int]] = defaultdict(list)
    for start, late, service, lag in deliveries:
        planned = NOW_NS + start
        sent, received, seen = planned + late, planned + late + service, planned + late + service + lag
        recorder.planned_ns.append(planned)
        recorder.sent_ns.append(sent)
        recorder.received_ns.append(received)
        recorder.seen_ns.append(seen)
        wanted["delivery"].append(service)
        wanted["delivery_response"].append(late + service)
        wanted["bot_lag"].append(lag)
    for start, late, service, _ in acks:
        recorder.ack_planned_ns.append(NOW_NS + start)
        recorder.ack_sent_ns.append(NOW_NS + start + late)
        recorder.ack_received_ns.append(NOW_NS + start + late + service)
        wanted["ack"].append(service)
        wanted["ack_response"].append(late + service)
    for metric, wait in sparse:
        recorder.add_sample(metric, wait)
        wanted[metric].append(wait)
    _, histograms = recorder.flush()
    assert {name: histogram.buckets() for name, histogram in histograms.items()} == naive(wanted)


def test_flush_resets_counts_and_samples() -> None:
    recorder = Recorder()
    recorder.counts["sent"] += 3
    recorder.add_sample("rtt", 5000)
    recorder.received_ns.append(3)
    for samples in (recorder.seen_ns, recorder.sent_ns, recorder.planned_ns):
        samples.append(2)
    counts, histograms = recorder.flush()
    assert counts == {"sent": 3}
    assert set(histograms) == {"rtt", "delivery", "delivery_response", "bot_lag"}
    assert recorder.flush() == ({}, {})
    assert set(recorder.counts) == set(COUNTS)


def test_add_loop_lag_counts_missed_periods_too() -> None:
    recorder = Recorder()
    recorder.add_loop_lag(95_000, 20_000)
    _, histograms = recorder.flush()
    assert histograms["loop_lag"].buckets() == [(value, 1) for value in (15, 35, 55, 75, 95)]

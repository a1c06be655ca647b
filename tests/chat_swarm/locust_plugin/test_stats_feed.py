"""Batches give the same Locust tables as single events. In a subprocess, since Locust patches its process."""

import json
import subprocess
import sys

_PROGRAM = """
import json, random, sys, time
from collections import Counter
from locust.env import Environment
from locust.stats import RequestStats, setup_distributed_stats_event_listeners, get_percentile_stats_summary
from chat_swarm.locust_plugin.stats_feed import StatsFeed
from chat_swarm.model.metric_names import METRIC_BY_NAME

now = [1_000_000.5]
time.time = lambda: now[0]


def table(stats):
    entries = [*stats.entries.values(), stats.total]
    rows = {}
    for entry in entries:
        row = {k: round(v, 6) if isinstance(v, float) else v for k, v in entry.to_dict().items()}
        if entry.use_response_times_cache:
            row["current"] = [entry.get_current_response_time_percentile(p) for p in (0.5, 0.9, 0.99)]
        row["times"] = sorted(entry.response_times.items())
        row["per_second"] = [sorted(entry.num_reqs_per_sec.items()), sorted(entry.num_fail_per_sec.items())]
        rows[entry.name] = row
    errors = sorted((e.method, e.name, e.error, e.occurrences, e.first_seen, e.last_seen)
                    for e in stats.errors.values())
    return json.loads(json.dumps([rows, errors, get_percentile_stats_summary(stats)]))


def worker_and_master():
    worker, master = RequestStats(use_response_times_cache=False), RequestStats()
    on_worker, on_master = Environment().events, Environment().events
    setup_distributed_stats_event_listeners(on_worker, worker)
    setup_distributed_stats_event_listeners(on_master, master)

    def report():
        data = {}
        on_worker.report_to_master.fire(client_id="w", data=data)
        on_master.worker_report.fire(client_id="w", data=travelled(data))

    return worker, master, report


def travelled(data):
    return json.loads(json.dumps(data), object_pairs_hook=keyed)


def keyed(pairs):  # JSON has no integers for keys; what Locust sends has
    return {float(k) if k.replace(".", "").isdigit() else k: v for k, v in pairs}


def run(seed, distributed):
    source = random.Random(seed)
    if distributed:
        (one_by_one, shown_one, report_one), (batched, shown_batched, report_batched) = (
            worker_and_master(), worker_and_master())
    else:
        one_by_one = shown_one = RequestStats()
        batched = shown_batched = RequestStats()
        report_one = report_batched = lambda: None
    feed = StatsFeed(batched)
    for second in range(30):
        now[0] += 1
        for name in ("ack", "delivery"):
            metric = METRIC_BY_NAME[name]
            values = [round(source.lognormvariate(1, 2), 3) for _ in range(source.randrange(40))]
            for value in values:
                one_by_one.log_request(metric.locust_type, name, value, 160)
            feed.add_samples(metric, Counter(values).items(), 160 * len(values))
        for _ in range(failed := source.randrange(3)):
            one_by_one.log_error("audit", "lost", "lost: a message")
            one_by_one.log_error("send", "ack", "rate_limited")
        feed.add_failures("lost", "lost: a message", failed)
        feed.add_failures(METRIC_BY_NAME["ack"], "rate_limited", failed)
        if second % 3 == 2:
            report_one(), report_batched()
    return table(shown_one), table(shown_batched)


def lag():
    stats = RequestStats()
    StatsFeed(stats).add_samples(METRIC_BY_NAME["bot_lag"], [(3.5, 4)])
    StatsFeed(stats).add_failures(METRIC_BY_NAME["bot_lag"], "stall")
    entry = stats.entries["bot_lag", "lag"]
    return [entry.num_requests, entry.num_failures, stats.total.num_requests, stats.total.num_failures]


def own_buckets():
    from locust import stats as module
    module.bucket_response_time = lambda ms: round(ms, 1)
    stats = RequestStats()
    StatsFeed(stats).add_samples(METRIC_BY_NAME["rtt"], [(0.34, 2), (0.31, 1)])
    return sorted(stats.total.response_times.items())


def nothing():
    stats = RequestStats()
    StatsFeed(stats).add_samples(METRIC_BY_NAME["rtt"], [])
    StatsFeed(stats).add_failures("lost", "lost", 0)
    return len(stats.entries) + len(stats.errors)


print(json.dumps({"runs": [run(seed, distributed) for seed in range(5) for distributed in (False, True)],
                  "lag": lag(), "nothing": nothing(), "own_buckets": own_buckets()}))
"""


def test_stats_feed_batches_give_the_tables_of_single_events() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": "loadtest:server:client", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["runs"]
    for one_by_one, batched in found["runs"]:
        rows, errors, percentiles = one_by_one
        assert rows["Aggregated"]["num_requests"] > 100
        assert errors
        assert batched[0] == rows
        assert batched[1] == errors
        assert batched[2] == percentiles
    assert found["lag"] == [4, 1, 0, 0], "the generator's own lag is in no total of the server's"
    assert found["nothing"] == 0
    assert found["own_buckets"] == [[0.3, 3]], "a bucket function that a user has set in Locust is used"

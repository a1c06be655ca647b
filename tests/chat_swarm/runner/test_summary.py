"""A run passes only if bots logged in and sent messages, and nothing went wrong."""

from typing import Any

import numpy as np
import pytest

from chat_swarm.audit.process_audit import ProcessAudit
from chat_swarm.model.histogram import Histogram
from chat_swarm.model.schema import MachineSample, ProcessSecond, ServerSample, Summary
from chat_swarm.runner.collector import Collector
from chat_swarm.runner.summary import summarize_run
from support.swarm.audits import observe_messages

BEGAN_UNIX = 5000


def final(**more: Any) -> dict[str, Any]:
    """Return a process's final report, of one room without faults."""
    audit = ProcessAudit()
    receiver = audit.follow("bot", "hall", 0)
    for seq in range(1, 11):
        observe_messages(audit, (seq, "bot", seq))
        receiver.position = seq
    plain: dict[str, Any] = {
        "audit": audit.final_report(),
        "errors": {},
        "warnings": [],
        "never_there": 0,
        "away": 0,
        "unstamped": 0,
        "early": 0,
        "clock_step_us": 0,
        "rss_bytes": 30_000_000,
        "rss_before": 20_000_000,
        "unknown_frames": 0,
        "pid": 1,
        "process": 0,
    }
    return plain | more


def collected(seconds: int = 4, mark: int = -1, **counts: int) -> Collector:
    collector = Collector(BEGAN_UNIX, 1)
    collector.mark_steady(BEGAN_UNIX)
    each = {"sent": 5, "delivered": 10, "acknowledged": 5} | counts
    if seconds:
        collector.add_report(
            ProcessSecond(unix=BEGAN_UNIX, process=0, bots=2, connected=2, counts={"logins": 2} | counts), {}
        )
    for second in range(1, seconds):
        latency = Histogram()
        latency.record(np.array([900_000 if second == mark else 1000], dtype=np.int64))
        marked = "loop lag" if second == mark else ""
        collector.add_samples(BEGAN_UNIX + second, ServerSample(cpu=0.1, rss_bytes=2_000_000, descriptors=9))
        collector.add_report(
            ProcessSecond(
                unix=BEGAN_UNIX + second,
                process=0,
                bots=2,
                connected=2,
                counts=dict(each),
                marked=marked,
                cpu=0.3,
            ),
            {"delivery": latency},
        )
    collector.finish()
    return collector


def summed(collector: Collector | None = None, *finals: dict[str, Any], **more: Any) -> Summary:
    by_process = dict(enumerate(finals or (final(),)))
    plain: dict[str, Any] = {
        "run": "k7q",
        "started": "now",
        "target": "127.0.0.1:1",
        "command": [],
        "options": {"message_rate": 0.2, "direct_rate": 1.0},
        "bots": {"ChatterBot": 2},
        "collector": collector or collected(),
        "finals": by_process,
        "notes": [],
        "server": None,
        "slo": "",
        "leave_out_marked": False,
        "shape": "",
        "steps": [],
        "limit": None,
    }
    return summarize_run(**plain | more).summary


def test_summary_of_a_good_run_passes() -> None:
    summary = summed()
    assert (summary.passed, summary.exit_code) == (True, 0)
    assert summary.audit.notes == summary.warnings == []
    assert summary.headline == "steady"
    assert summary.scopes["steady"].seconds == 3


@pytest.mark.parametrize(
    ("collector", "finals", "reason"),
    [
        (collected(0), [final()], "no bot ever had a session"),
        (collected(logins=0), [final(never_there=2)], "no bot ever had a session"),
        (None, [final(never_there=3), final()], "3 bots never had a session"),
        (None, [final(away=2), final(away=1)], "3 bots had lost their session at the end"),
        (None, [final(errors={"swarm_erred": 1})], "internal error in the load generator"),
        (None, [final(errors={"bad_frame_from_server": 1})], "not frames of the protocol"),
        (None, [final(errors={"endless_line_from_server": 1})], "longer than the protocol's longest frame"),
        (None, [final(errors={"message_of_no_room_of_ours": 1})], "rooms that they are not in"),
        (collected(sent=0), [final()], "no ChatterBot sent a message"),
    ],
)
def test_summary_of_an_incomplete_run_fails_with_a_note(
    collector: Collector | None, finals: list[dict[str, Any]], reason: str
) -> None:
    summary = summed(collector, *finals)
    assert (summary.passed, summary.exit_code) == (False, 1)
    assert not summary.audit.passed
    assert any(reason in note for note in summary.audit.notes), summary.audit.notes


@pytest.mark.parametrize(
    ("bots", "options"),
    [({"LurkerBot": 2}, {"message_rate": 0.2}), ({"ChatterBot": 2}, {"message_rate": 0.0})],
)
def test_run_of_bots_that_send_nothing_passes(bots: dict[str, int], options: dict[str, float]) -> None:
    assert summed(collected(sent=0), bots=bots, options=options).passed


def test_summary_with_an_unreported_process_fails() -> None:
    assert not summed(notes=["bot process 1 did not report at the end"]).passed


def test_summary_with_an_audit_fault_fails() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("bot", "hall", 0)
    audit.observe_out_of_sequence(receiver, 2, 2)
    summary = summed(None, final(audit=audit.final_report()))
    assert not summary.passed
    assert summary.audit.counts["lost"] == 1


def test_summary_fails_only_if_the_slo_is_broken() -> None:
    assert summed(slo="delivery.p99<50ms,lost=0").passed
    broken = summed(slo="delivery.p99<0.5ms")
    assert not broken.passed
    assert broken.objective is not None
    assert not broken.objective.passed


def test_summary_leaving_out_marked_seconds_uses_clean() -> None:
    with_them = summed(collected(mark=2), slo="delivery.max<50ms")
    assert (with_them.headline, with_them.passed) == ("steady", False)
    assert any("too slow" in warning for warning in with_them.warnings)
    without = summed(collected(mark=2), slo="delivery.max<50ms", leave_out_marked=True)
    assert (without.headline, without.passed) == ("clean", True)
    assert without.generator.marked_seconds == 1


def test_summary_of_silent_process_does_not_warn_of_slowness() -> None:
    # Given a run in which one of the processes reported only every other second
    collector = Collector(BEGAN_UNIX, 2)
    collector.mark_steady(BEGAN_UNIX)
    for second in range(12):
        for process in (0, 1) if second % 2 else (0,):
            collector.add_report(
                ProcessSecond(
                    unix=BEGAN_UNIX + second, process=process, counts={"logins": 1, "sent": 1}, bots=1
                ),
                {},
            )
        if second == 1:
            collector.add_report(ProcessSecond(unix=BEGAN_UNIX, process=1, counts={}, bots=1), {})
    collector.finish()
    # Then the summary says so, and does not call the generator slow
    summary = summed(collector)
    [warning] = [one for one in summary.warnings if "did not report" in one]
    assert warning.startswith(f"In {summary.generator.marked_seconds} of ")
    assert not any("too slow" in one for one in summary.warnings)


@pytest.mark.parametrize(
    ("number", "how", "beginning", "advised"),
    [
        (1, {}, "1 message was not acknowledged", True),
        (6, {}, "6 messages were not", True),
        (6, {"shape": "storm"}, "6 messages were not", False),
        (6, {"options": {"resumable": True}}, "6 messages were not", False),
    ],
)
def test_summary_of_abandoned_messages_warns_and_advises_resumable(
    number: int, how: dict[str, Any], beginning: str, advised: bool
) -> None:
    collector = collected()
    collector.tallies["all"].counts["abandoned"] = number
    [warning] = [one for one in summed(collector, **how).warnings if "acknowledged" in one]
    assert warning.startswith(beginning)
    assert ("--resumable" in warning) is advised


def test_untimed_deliveries_below_one_percent_do_not_count() -> None:
    def unseen(untimed: int, **more: Any) -> int:
        return summed(collected(delivered=1000, untimed=untimed), **more).untimed_deliveries

    assert unseen(10) == 0
    assert unseen(11) == 33  # in three steady seconds
    assert unseen(11, bots={"ChatterBot": 2, "SlowBot": 1}) == 0
    assert unseen(11, bots={"ChatterBot": 2, "ChurnBot": 1}) == 0


def test_summary_of_doubtful_measurements_warns() -> None:
    def warnings_of(**more: Any) -> str:
        return " ".join(summed(collected(**more.pop("counts", {})), final(**more)).warnings)

    assert "No kernel receive timestamps" in warnings_of(unstamped=100)
    assert "clock was set by 5.0 ms" in warnings_of(clock_step_us=5000)
    assert "before they were sent" in warnings_of(early=1)
    assert "read too late" in warnings_of(counts={"untimed": 5})
    assert "of our own" in warnings_of(warnings=["of our own"])


def test_summary_of_an_audit_without_input_warns() -> None:
    [warning] = summed(
        collected(sent=0), final(audit=ProcessAudit().final_report()), bots={"LurkerBot": 2}
    ).warnings
    assert "checked nothing" in warning


def test_summary_relates_server_cost_to_its_work() -> None:
    server = summed(server=(77, "chat-server", 1_000_000)).server
    assert server is not None
    assert server.cpu_cores == pytest.approx(0.1)
    assert server.cpu_us_per_delivery == pytest.approx(10_000)
    assert server.cpu_us_per_message == pytest.approx(20_000)
    assert server.rss_bytes_per_connection == 500_000
    assert server.descriptors_peak == 9


@pytest.mark.parametrize(
    ("others", "stolen", "warned"), [(0.1, 0.05, False), (0.3, 0.0, True), (0.0, 0.4, True)]
)
def test_summary_of_other_load_warns_above_the_threshold(others: float, stolen: float, warned: bool) -> None:
    collector = collected()
    for row in collector.rows[1:]:
        row.machine = MachineSample(others=others, stolen=stolen)
    summary = summed(collector)
    assert summary.generator.others_cores == pytest.approx(others)
    assert summary.generator.stolen_cores == pytest.approx(stolen)
    assert any("On this machine" in warning for warning in summary.warnings) is warned
    # And without samples of the machine there are no figures
    assert summed().generator.others_cores is None


@pytest.mark.parametrize(
    ("command", "asked", "warned"),
    [
        ("/opt/bin/python3 /opt/bin/chat-server --port 1", 0, False),
        ("/opt/bin/python3 -m chat_server --port 1", 0, False),
        ("chat-server", 0, False),
        ("socat tcp-listen:1 tcp:2", 0, True),
        ("/usr/bin/python3 -m proxy --to chat-server", 0, True),
        ("socat tcp-listen:1 tcp:2", 71, False),  # it was asked for
    ],
)
def test_process_that_is_no_chat_server_is_warned_of(command: str, asked: int, warned: bool) -> None:
    options = {"server_pid": asked}
    summary = summed(collected(), server=(71, command, 1_000_000), options=options)
    said = [one for one in summary.warnings if "which is no chat-server" in one]
    assert bool(said) is warned
    if warned:
        assert f"pid 71, `{command.removeprefix('/usr/bin/python3 ')}`" in said[0]
        assert "--server-pid" in said[0]

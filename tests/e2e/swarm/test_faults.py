"""Faults injected by a proxy between the swarm and a correct server: the audit finds each, and no other."""

from typing import Any, NamedTuple

import pytest

from chat_swarm.model.schema import AuditFault
from support.processes.process import ServerProcess, eventually
from support.swarm.stall import LONGEST_SERVER_STALL_S, stall_s
from support.swarm.swarm_runs import FinishedSwarm, LyingProxyProcess, SwarmProcess

DELAY_MS = 200
FAULTS = {
    "drop": ("--drop", "200"),
    "rare": ("--drop", "10000"),
    "repeat": ("--repeat-once",),
    "swap": ("--swap-once",),
    "delay": ("--delay", "200", "--delay-ms", str(DELAY_MS)),  # one in 200: few, even where many come at once
}
MIN_DELIVERIES = 30_000
"""Deliveries of which one in 10,000 is dropped."""
Seen = set[tuple[str, int]]


class Lied(NamedTuple):
    """A swarm's result, and the proxy's record of the faults that it injected."""

    swarm: FinishedSwarm
    truth: dict[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """The audit's nonzero counts."""
        return {kind: count for kind, count in self.swarm.summary.audit.counts.items() if count}

    def done(self) -> Seen:
        return {(one["room"], one["seq"]) for one in self.truth["done"]}

    def found(self, kind: str) -> Seen:
        faults = [fault for fault in self.swarm.summary.audit.faults if fault.kind == kind]
        return {(fault.room, seq) for fault in faults for seq in range(fault.first, fault.last + 1)}


@pytest.fixture(scope="module")
def lied(
    arena: ServerProcess, start_swarm: Any, start_liar: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A swarm for each fault, all at once; the rare one runs until it has had enough deliveries."""
    own = ServerProcess(
        tmp_path_factory.mktemp("rare"), "--rate-messages", "0", "--rate-bytes", "0", "--log-interval", "0.2"
    )
    try:
        drain_s = stall_s(arena.port, shortest=3.0, longest=LONGEST_SERVER_STALL_S)
        liars: dict[str, LyingProxyProcess] = {}
        swarms: dict[str, SwarmProcess] = {}
        for name, flags in FAULTS.items():
            rare = name == "rare"
            liars[name] = start_liar((own if rare else arena).port, *flags, "--seed", "3")
            load: tuple[str, ...] = ("-u", "40", "--room-size", "40", "--message-rate", "5")
            if not rare:
                load = ("-u", "20", "--room-size", "10", "--message-rate", "5", "-t", "4s")
            # A drain ends with the last answer: never, where answers are dropped. Then it must be long enough
            # for what is under way: a dropped message is lost only if it should have come before the end.
            drain = f"{drain_s:.1f}" if "--drop" in flags else "30"
            swarms[name] = start_swarm(name, liars[name].port, "-r", "100", "--drain", drain, *load)
        ended = {name: swarm.wait_finished() for name, swarm in swarms.items() if name != "rare"}
        eventually(
            lambda: sum(line["deliveries"] for line in own.entries("interval")) > MIN_DELIVERIES,
            f"{MIN_DELIVERIES} deliveries",
        )
        ended["rare"] = swarms["rare"].interrupt()
        yield {name: Lied(ended[name], liar.stop_and_report()) for name, liar in liars.items()}
    finally:
        own.kill()


@pytest.mark.parametrize("name", ["drop", "rare"])
def test_dropped_messages_are_reported_lost(lied: dict[str, Lied], name: str) -> None:
    one = lied[name]
    assert one.truth["dropped"] > 0
    # A bot without its own echo lacks its acknowledgement, too
    unanswered = one.swarm.count("sent") - one.swarm.count("acknowledged")
    assert one.counts.get("lost") == one.truth["dropped"]
    assert one.counts.get("unanswered", 0) == unanswered
    assert {*one.counts} <= {"lost", "unanswered"}
    assert one.found("lost") <= one.done()
    if one.truth["dropped"] <= 100:  # as many as a summary lists
        assert one.found("lost") == one.done()
    assert one.truth["deliveries"] == one.swarm.count("delivered") + one.truth["dropped"]


def test_rare_drops_had_enough_deliveries(lied: dict[str, Lied]) -> None:
    assert lied["rare"].truth["deliveries"] > MIN_DELIVERIES


def test_duplicated_message_is_reported_repeated(lied: dict[str, Lied]) -> None:
    one = lied["repeat"]
    assert one.truth["repeated"] == 1
    assert one.counts == {"repeated": 1}
    assert one.found("repeated") == one.done()


def test_swapped_messages_are_reported_reordered(lied: dict[str, Lied]) -> None:
    one = lied["swap"]
    assert one.truth["swapped"] == 1
    assert one.counts == {"reordered": 1}
    assert one.found("reordered") == one.done()


@pytest.mark.parametrize("name", ["drop", "rare", "repeat", "swap"])
def test_any_audit_fault_fails_the_run(lied: dict[str, Lied], name: str) -> None:
    swarm = lied[name].swarm
    assert (swarm.code, swarm.summary.passed, swarm.summary.exit_code) == (1, False, 1)
    assert not swarm.summary.audit.passed
    assert "FAILED: THE AUDIT" in swarm.out
    fault: AuditFault = swarm.summary.audit.faults[0]
    assert fault.room.startswith(f"{name}-")
    assert fault.room in (swarm.path / "report.html").read_text()


def test_delayed_messages_are_late_and_no_fault(lied: dict[str, Lied]) -> None:
    late = lied["delay"]
    late.swarm.assert_clean()
    # Given that each hold-up delays at least one delivery
    assert late.truth["delayed"] > 0
    assert late.swarm.count_at_least("delivery", DELAY_MS * 990) >= late.truth["delayed"] // 2
    assert late.swarm.histogram("delivery").largest >= DELAY_MS * 990
    # Then it shows in the high percentiles (how many were held up is up to chance), and not in the median
    delivered = late.swarm.histogram("delivery")
    share = late.truth["delayed"] / delivered.count
    assert delivered.percentile(100 - 100 * share / 2) >= DELAY_MS * 990
    # (which is late on a busy machine, but as late in the runs without delays beside it)
    usual = max(lied[name].swarm.histogram("delivery").percentile(50) for name in ("drop", "repeat", "swap"))
    assert late.swarm.histogram("delivery").percentile(50) < DELAY_MS * 1000 + 2 * usual

"""A proxy falsifies a delivery, or holds all up: the swarm finds it, names it, and blames the right side."""

from typing import Any

import pytest

from chat_swarm.model.schema import AuditFault
from support.processes.process import ServerProcess
from support.swarm.swarm_runs import FinishedSwarm

LOAD = ("-u", "12", "-r", "100", "--room-size", "6", "--message-rate", "5", "-t", "3s", "--drain", "30")
AT_ONCE = 4
"""Swarms at one time."""
LIES: dict[str, tuple[str, ...]] = {
    "honest": (),
    **{what: ("--alter", what, "--altered-for", "other") for what in ("text", "header", "from", "username")},
    **{what: ("--alter", what, "--altered-for", "other") for what in ("timestamp", "ref", "room")},
    "own-text": ("--alter", "text", "--altered-for", "sender"),
    "own-from": ("--alter", "from", "--altered-for", "sender"),
    "own-time": ("--alter", "timestamp", "--altered-for", "sender"),
    "all": ("--alter", "text", "--altered-for", "all"),
    "process": ("--alter", "text", "--altered-for", "second"),
}
Lied = tuple[FinishedSwarm, dict[str, Any]]


@pytest.fixture(scope="module")
def lied(arena: ServerProcess, start_swarm: Any, start_liar: Any) -> dict[str, Lied]:
    """The result of a swarm for each lie, and what its proxy says that it did."""
    found: dict[str, Lied] = {}
    for names in (list(LIES)[at : at + AT_ONCE] for at in range(0, len(LIES), AT_ONCE)):
        liars = {name: start_liar(arena.port, *LIES[name], "--seed", "5") for name in names}
        swarms = {}
        for name, liar in liars.items():
            several: tuple[str, ...] = ("--processes", "2", "--room-size", "12") if name == "process" else ()
            several += ("-t", "8s") if name in {"process", "all"} else ()
            swarms[name] = start_swarm(f"l-{name}", liar.port, *LOAD, *several)
        found |= {name: (swarms[name].wait_finished(), liars[name].stop_and_report()) for name in names}
    return found


def counts(swarm: FinishedSwarm) -> dict[str, int]:
    return {kind: count for kind, count in swarm.summary.audit.counts.items() if count}


def the_fault(swarm: FinishedSwarm, kind: str) -> AuditFault:
    [fault] = [fault for fault in swarm.summary.audit.faults if fault.kind == kind]
    return fault


def test_honest_proxy_gives_a_clean_run(lied: dict[str, Lied]) -> None:
    swarm, truth = lied["honest"]
    swarm.assert_clean()
    assert not truth["done"]
    assert truth["deliveries"] == swarm.count("delivered")
    # And it is named as what was sampled: CPU and memory are the proxy's, not the server's
    assert "support.fakes.lying_proxy" in swarm.out
    assert "which is no chat-server: CPU and memory are that program's" in swarm.out


@pytest.mark.parametrize("what", ["text", "header", "from", "username", "timestamp", "ref", "own-time"])
def test_delivery_altered_for_one_receiver_is_mismatched(lied: dict[str, Lied], what: str) -> None:
    swarm, truth = lied[what]
    [done] = truth["done"]
    assert counts(swarm) == {"mismatched": 1}
    fault = the_fault(swarm, "mismatched")
    assert (fault.room, fault.bot, fault.first, fault.last) == (
        done["room"],
        done["to"],
        done["seq"],
        done["seq"],
    )
    field = {"text": "message", "header": "message", "own-time": "timestamp"}.get(what, what)
    assert f"{done['to']} was shown `{field}` " in fault.detail
    assert fault.detail.endswith("as 5 others")
    # And it is said in the terminal, as the server's or the path's
    assert (swarm.code, swarm.summary.passed) == (1, False)
    assert f"mismatched, room {done['room']}, seq {done['seq']}: {done['to']} was shown" in swarm.out
    assert "the server's, or the path's" in swarm.out
    assert done["to"] in (swarm.path / "report.html").read_text()


@pytest.mark.parametrize("what", ["own-text", "own-from"])
def test_senders_own_message_altered_for_it_is_both(lied: dict[str, Lied], what: str) -> None:
    swarm, truth = lied[what]
    [done] = truth["done"]
    assert counts(swarm) == {"mismatched": 1, "altered": 1}
    for kind in ("mismatched", "altered"):
        fault = the_fault(swarm, kind)
        assert (fault.room, fault.bot, fault.first) == (done["room"], done["to"], done["seq"])


def test_text_altered_for_all_is_found_by_its_sender(lied: dict[str, Lied]) -> None:
    swarm, truth = lied["all"]
    assert len(truth["done"]) == 6
    assert counts(swarm) == {"altered": 1}
    fault = the_fault(swarm, "altered")
    assert (fault.room, fault.first) == (truth["done"][0]["room"], truth["done"][0]["seq"])
    assert "with another text than it had sent" in fault.detail


def test_delivery_altered_for_one_process_of_two_is_mismatched(lied: dict[str, Lied]) -> None:
    swarm, truth = lied["process"]
    deceived = {done["to"] for done in truth["done"]}
    [place] = {(done["room"], done["seq"]) for done in truth["done"]}
    assert swarm.summary.generator.processes == 2
    # Both processes have bots in the one room; if the sender is of the second, it notices, too
    assert counts(swarm) in ({"mismatched": 1}, {"mismatched": 1, "altered": 1})
    assert {(fault.room, fault.first) for fault in swarm.summary.audit.faults} == {place}
    assert {fault.bot for fault in swarm.summary.audit.faults if fault.kind == "altered"} <= deceived
    # The receivers of the variant that fewer were shown are named
    named = the_fault(swarm, "mismatched").bot
    some = set(named.replace(" and ", ", ").split(", "))
    assert len(some & deceived) in {0, min(5, len(deceived))}


def test_message_shown_as_of_another_room_is_stray_and_lost(lied: dict[str, Lied]) -> None:
    swarm, truth = lied["room"]
    [done] = truth["done"]
    assert counts(swarm) == {"stray": 1, "lost": 1}
    stray, lost = the_fault(swarm, "stray"), the_fault(swarm, "lost")
    assert (stray.bot, stray.first) == (lost.bot, lost.first) == (done["to"], done["seq"])
    assert lost.room == done["room"] != stray.room


FREEZE_S = 3.0
STALLED = "All connections stalled "


@pytest.mark.parametrize("knows", [True, False], ids=["with-log", "without-log"])
def test_standstill_of_the_path_is_not_the_servers(
    arena: ServerProcess, start_swarm: Any, start_liar: Any, knows: bool
) -> None:
    # Given a path that lets nothing through for a while, to a server that runs on
    liar = start_liar(arena.port, "--freeze-ms", str(1000 * FREEZE_S))
    log = ("--server-log", str(arena.log_path)) if knows else ()
    swarm = start_swarm(f"ice{knows:d}", liar.port, *LOAD, "-t", "6s", "--lag-limit", "60000", *log)
    ended = swarm.wait_finished()
    assert liar.stop_and_report()["frozen"] == 1
    # Then no message is at fault, and the delay is not the bots'
    ended.assert_clean()
    assert ended.histogram("delivery").largest >= 900_000 * FREEZE_S
    [remark] = [one for one in ended.summary.remarks if one.startswith(STALLED)]
    assert remark in ended.out
    assert ("It was the path: by its own log" in remark) is knows
    assert ("It was the server or the path to it, not the bots" in remark) is not knows
    # And the slowest delivery is named
    slowest = ended.summary.slowest
    assert slowest is not None
    assert f"to {slowest.bot}, room {slowest.room}, seq {slowest.seq}: by kernel timestamps" in ended.out
    assert slowest.us >= 900_000 * FREEZE_S

"""The proxy forwards correctly when calm, and the audit finds what it falsifies."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chaos.actors.crowd import RobotCrowd
from chaos.audit.auditor import Auditor
from chaos.audit.faults import FaultKind
from chaos.damage.proxy import ChaosProxy
from chaos.server import ChaosServer
from chaos.stage import ScenarioSize, add_cast

SMALL = ScenarioSize(seed="lies", receivers=3, senders=3, rooms=1, messages_per_s=60)


Line = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosServer]:
    server = ChaosServer(tmp_path_factory.mktemp("lies"), "--store", "memory")
    yield server
    server.kill()


def audited(server: ChaosServer, tamper: Callable[[bytes], bytes] | None) -> Auditor:
    """Run a few clients through a proxy that tampers with every line; return the audit."""
    auditor = Auditor("lies")
    with ChaosProxy(server.port, "lies", calm=True, tamper=tamper) as proxy:
        crowd = RobotCrowd(auditor, proxy.port, "lies")
        load = add_cast(crowd, SMALL)
        try:
            crowd.run(lambda: crowd.all_live, 10)
            load.on = True
            crowd.run(lambda: auditor.acknowledged > 20 or bool(auditor.counts), 10)
            load.on = False
            crowd.audit(0.3 if tamper else 10)
        finally:
            for robot in crowd.robots:
                robot.quit()
            crowd.run(lambda: not any(map(crowd.connected, crowd.robots)), 2)
            crowd.close()
    return auditor


def liar(lie: Callable[[Line], list[Line]]) -> Callable[[bytes], bytes]:
    """Return a tamper function that falsifies the ninth message only."""
    seen = 0

    def tamper(line: bytes) -> bytes:
        nonlocal seen
        frame = json.loads(line)
        seen += frame["type"] == "message"
        if frame["type"] != "message" or seen != 9:
            return line + b"\n"
        return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in lie(frame))

    return tamper


def test_what_passes_unchanged_is_found_well(server: ChaosServer) -> None:
    auditor = audited(server, None)
    auditor.raise_if_faults()
    assert auditor.deliveries > 20


@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        (lambda _: [], {FaultKind.HOLE, FaultKind.LOST}),
        (lambda frame: [frame, frame], {FaultKind.REPEATED}),
        (lambda frame: [frame | {"message": "never said"}], {FaultKind.WRONG_TEXT, FaultKind.DIFFERENT}),
        (lambda frame: [frame | {"username": "mallory"}], {FaultKind.WRONG_AUTHOR, FaultKind.DIFFERENT}),
        (lambda frame: [frame | {"ref": "none"}], {FaultKind.FORGED, FaultKind.DIFFERENT}),
        (lambda frame: [frame | {"timestamp": frame["timestamp"] + 0.001}], {FaultKind.DIFFERENT}),
        (lambda frame: [frame | {"from": "z" * 8}], {FaultKind.WRONG_AUTHOR, FaultKind.DIFFERENT}),
        (lambda frame: [frame | {"room": "elsewhere"}], {FaultKind.NOT_A_MEMBER}),
        (
            lambda frame: [frame, frame | {"seq": frame["seq"] + 1}],
            {FaultKind.STORED_TWICE, FaultKind.DIFFERENT},
        ),
    ],
    ids=[
        "drops",
        "repeats",
        "other-text",
        "other-author",
        "other-ref",
        "other-time",
        "other-id",
        "other-room",
        "other-seq",
    ],
)
def test_a_lie_on_the_way_is_found(
    server: ChaosServer, lie: Callable[[Line], list[Line]], kinds: set[FaultKind]
) -> None:
    assert kinds & set(audited(server, liar(lie)).counts)


def test_changed_epoch_in_one_welcome_is_found(server: ChaosServer) -> None:
    def tamper(line: bytes) -> bytes:
        frame = json.loads(line)
        if frame["type"] == "welcome" and frame["username"] == "r02":
            frame["epoch"] = "another"
        return json.dumps(frame, ensure_ascii=False).encode() + b"\n"

    assert FaultKind.EPOCH in audited(server, tamper).counts

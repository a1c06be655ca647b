"""The auditor reports each kind of fault, and none in a correct stream."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.audit.auditor import Auditor
from chaos.audit.faults import FaultKind, FaultsFound

Frame = dict[str, Any]
IDS = {"ann": "A", "bob": "B"}


def welcome(name: str, **fields: object) -> Frame:
    rooms = [{"room": "hall", "seq": 0, "count": 2}]
    return {"type": "welcome", "id": IDS[name], "resumed": False, "epoch": "e", "rooms": rooms} | fields


def resumed(name: str, seq: int, **fields: object) -> Frame:
    return welcome(name, resumed=True, rooms=[{"room": "hall", "seq": seq, "count": 2}]) | fields


def said(seq: int, **fields: object) -> Frame:
    frame = {
        "type": "message",
        "ref": f"m{seq}",
        "room": "hall",
        "seq": seq,
        "from": "A",
        "username": "ann",
        "message": f"text {seq}",
        "timestamp": 1.5,
        "origin": "client",
    }
    return frame | {key.removesuffix("_"): value for key, value in fields.items()}


class AuditedPlay:
    """Ann and bob are in the hall; ann has sent five messages, all stored."""

    def __init__(self) -> None:
        self.auditor = Auditor("7")
        for name in IDS:
            self.auditor.welcomed(name, welcome(name), None)
        for seq in range(1, 6):
            self.auditor.sent("ann", f"m{seq}", "hall", f"text {seq}")
        self.log = [said(seq) for seq in range(1, 6)]

    def show(self, name: str, *frames: Frame) -> "AuditedPlay":
        for frame in frames:
            self.auditor.message(name, frame, json.dumps(frame).encode())
        return self

    def all_well(self, name: str, first: int = 1, last: int = 5) -> "AuditedPlay":
        return self.show(name, *(said(seq) for seq in range(first, last + 1)))

    def end(self) -> set[FaultKind]:
        self.auditor.compare_with_logs({"hall": self.log})
        return set(self.auditor.counts)


@pytest.fixture
def play() -> AuditedPlay:
    return AuditedPlay()


def test_nothing_is_found_where_nothing_is_wrong(play: AuditedPlay) -> None:
    play.all_well("ann")
    play.all_well("bob")
    assert play.end() == set()
    play.auditor.raise_if_faults()
    assert play.auditor.acknowledged == 5


def test_nothing_is_found_when_a_session_comes_back_rightly(play: AuditedPlay) -> None:
    # Given ann, cut off before the last two acknowledgements, and bob, cut off after the second message
    play.all_well("ann", 1, 3)
    play.all_well("bob", 1, 2)

    # When they come back, and ann sends again
    play.auditor.welcomed("ann", resumed("ann", 3), {"hall": 3})
    for seq in (4, 5):
        play.auditor.sent("ann", f"m{seq}", "hall", f"text {seq}")
    play.auditor.message("ann", said(4, again=True), b"")  # before the event itself
    play.all_well("ann", 4, 5)
    play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 2})
    play.all_well("bob", 3, 5)

    # Then all is well, and each is acknowledged
    assert play.end() == set()
    assert play.auditor.unacknowledged() == 0


def test_a_refusal_is_no_loss_if_it_is_sent_again(play: AuditedPlay) -> None:
    play.auditor.sent("ann", "m6", "hall", "text 6")
    play.auditor.refused("ann", {"code": "unavailable", "ref": "m6"}, explained=True)
    assert play.auditor.unacknowledged() == 6
    play.auditor.sent("ann", "m6", "hall", "text 6")
    play.log.append(said(6))
    play.all_well("ann", 1, 6)
    play.all_well("bob", 1, 6)
    assert play.end() == set()


def test_a_gap_is_no_fault_where_the_log_has_lost_its_beginning(play: AuditedPlay) -> None:
    play.auditor.trimmed = set()
    play.all_well("ann")
    play.show("bob", said(1))
    play.auditor.gap("bob", {"room": "hall", "first": 2, "last": 3})
    play.all_well("bob", 4, 5)
    del play.log[:3]
    assert play.end() == set()
    assert play.auditor.gaps == 1


def gap_elsewhere(play: AuditedPlay) -> None:
    play.auditor.trimmed = set()
    play.show("bob", said(1))
    play.auditor.gap("bob", {"room": "hall", "first": 3, "last": 3})


def another_room(play: AuditedPlay) -> None:
    frame = resumed("bob", 0)
    frame["rooms"].append({"room": "attic", "seq": 0, "count": 1})
    play.auditor.welcomed("bob", frame, {"hall": 0})


def reopened_elsewhere(play: AuditedPlay) -> None:
    play.auditor.entered("bob", "@ann,bob", 0)
    play.auditor.left("bob", "@ann,bob")
    play.auditor.entered("bob", "@ann,bob", 2)


def wrong_conversation(play: AuditedPlay) -> None:
    frame = resumed("bob", 0)
    frame["rooms"].append({"room": "@ann,bob", "seq": 4, "count": 2})
    play.auditor.welcomed("bob", frame, {"hall": 0})


def no_ref_of_hers(play: AuditedPlay) -> None:
    play.show("bob", *(said(seq) for seq in range(1, 6)), said(6, ref="m99", message="boo"))


def one_more_again_than_tries(play: AuditedPlay) -> None:
    play.all_well("ann")
    play.show("ann", said(3, again=True))


def another_again(play: AuditedPlay) -> None:
    play.auditor.sent("ann", "m3", "hall", "text 3")
    play.show("ann", *(said(seq) for seq in (1, 2, 3)), said(2, ref="m3", message="text 3", again=True))


def same_send_twice(play: AuditedPlay) -> None:
    play.all_well("bob")
    play.show("bob", said(6, ref="m5", message="text 5"))


def two_acknowledgements(play: AuditedPlay) -> None:
    play.all_well("ann")
    play.show("ann", said(6, ref="m5", message="text 5"))


def in_log_twice(play: AuditedPlay) -> None:
    play.log.append(said(6, ref="m5", message="text 5"))


def an_empty_log(play: AuditedPlay) -> None:
    play.show("bob", said(1))
    play.log = []


def out_of_order(play: AuditedPlay) -> None:
    play.show("bob", said(1), said(3), said(2), said(4), said(5))


LIES: list[dict[str, Any]] = [
    {"message": "text E"},
    {"from_": "B"},
    {"username": "bob"},
    {"timestamp": 1.25},
    {"origin": "server"},
    {"color": 1},
]
"""What one receiver, or the log, may have otherwise than the others."""


def shown_to_bob(**fields: object) -> Callable[[AuditedPlay], object]:
    def change(play: AuditedPlay) -> None:
        play.all_well("ann")
        play.all_well("bob", 1, 2).show("bob", said(3, **fields)).all_well("bob", 4, 5)

    return change


def shown_to_bob_after_a_cut(**fields: object) -> Callable[[AuditedPlay], object]:
    def change(play: AuditedPlay) -> None:
        play.all_well("ann")
        play.all_well("bob", 1, 2)
        play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 2})
        play.show("bob", said(3, **fields)).all_well("bob", 4, 5)

    return change


def repeated_after_a_cut(play: AuditedPlay) -> None:
    play.all_well("bob", 1, 3)
    play.auditor.welcomed("bob", resumed("bob", 3), {"hall": 3})
    play.all_well("bob", 3, 5)


def skipped_after_a_cut(play: AuditedPlay) -> None:
    play.all_well("bob", 1, 2)
    play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 2})
    play.all_well("bob", 4, 5)


def changed_in_log(**fields: object) -> Callable[[AuditedPlay], object]:
    def change(play: AuditedPlay) -> None:
        play.all_well("ann")
        play.all_well("bob")
        play.log[2] |= {key.removesuffix("_"): value for key, value in fields.items()}

    return change


def changed_again(*, shown_first: bool, **fields: object) -> Callable[[AuditedPlay], object]:
    def change(play: AuditedPlay) -> None:
        play.all_well("bob")
        play.auditor.sent("ann", "m3", "hall", "text 3")
        frame = said(3, again=True, **fields)
        if shown_first:
            play.all_well("ann")
        play.show("ann", frame)
        if not shown_first:
            play.all_well("ann")

    return change


def changed_again_before_anyone(play: AuditedPlay) -> None:
    play.auditor.sent("ann", "m1", "hall", "text 1")
    play.show("ann", said(1, again=True, timestamp=9.0))
    play.all_well("bob")


BAD: list[tuple[FaultKind, Callable[[AuditedPlay], object]]] = [
    (FaultKind.LOST, lambda play: play.all_well("bob", 1, 4)),
    (FaultKind.LOST, lambda play: play.show("bob", said(1), said(3), said(4), said(5))),
    (FaultKind.LOST, lambda play: play.all_well("ann")),
    (FaultKind.REPEATED, lambda play: play.show("bob", said(1), said(2), said(2))),
    (FaultKind.REPEATED, lambda play: play.show("bob", said(1), said(2), said(1))),
    (FaultKind.REPEATED, repeated_after_a_cut),
    (FaultKind.HOLE, skipped_after_a_cut),
    (FaultKind.OUT_OF_ORDER, out_of_order),
    (FaultKind.HOLE, lambda play: play.show("bob", said(1), said(3))),
    (FaultKind.HOLE, lambda play: play.show("bob", said(2))),
    (FaultKind.GAP, lambda play: play.auditor.gap("bob", {"room": "hall", "first": 1, "last": 2})),
    (FaultKind.GAP, gap_elsewhere),
    (FaultKind.WRONG_TEXT, lambda play: play.show("bob", said(1, message="text 2"))),
    (FaultKind.WRONG_TEXT, lambda play: play.show("ann", said(1, message="other", again=True))),
    (FaultKind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, from_="B"))),
    (FaultKind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, from_="Z"))),
    (FaultKind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, username="bob"))),
    (FaultKind.WRONG_ROOM, lambda play: play.show("bob", said(1, room="attic"))),
    (FaultKind.DIFFERENT, lambda play: (play.show("ann", said(1)), play.show("bob", said(1, timestamp=2.5)))),
    *((FaultKind.DIFFERENT, shown_to_bob(**lie)) for lie in LIES),
    *((FaultKind.DIFFERENT, shown_to_bob_after_a_cut(**lie)) for lie in LIES),
    *((FaultKind.DIFFERENT, changed_in_log(**lie)) for lie in LIES),
    *((FaultKind.DIFFERENT, changed_again(shown_first=True, **lie)) for lie in LIES if "from_" not in lie),
    (FaultKind.FORGED, changed_again(shown_first=True, from_="Z")),
    (FaultKind.DIFFERENT, changed_again(shown_first=False, timestamp=9.0)),
    (FaultKind.DIFFERENT, changed_again_before_anyone),
    (FaultKind.FORGED, no_ref_of_hers),
    (FaultKind.FORGED, lambda play: play.show("bob", said(1, again=True))),
    (FaultKind.FORGED, lambda play: play.log.append(said(6, ref="m99", message="boo"))),
    (FaultKind.NOT_IN_LOG, lambda play: (play.all_well("bob"), play.log.pop())),
    (FaultKind.NOT_IN_LOG, an_empty_log),
    (FaultKind.LOG_BROKEN, lambda play: play.log.pop(2)),
    (FaultKind.LOG_BROKEN, lambda play: play.log.reverse()),
    (FaultKind.STORED_TWICE, same_send_twice),
    (FaultKind.STORED_TWICE, another_again),
    (FaultKind.STORED_TWICE, in_log_twice),
    (FaultKind.ACKED_TWICE, one_more_again_than_tries),
    (FaultKind.ACKED_TWICE, two_acknowledgements),
    (FaultKind.ACKED_LOST, lambda play: (play.all_well("ann"), play.log.pop())),
    (FaultKind.UNANSWERED, lambda play: play.auditor.sent("bob", "b1", "hall", "x")),
    (FaultKind.REFUSED, lambda play: play.auditor.refused("ann", {"code": "internal"}, explained=False)),
    (FaultKind.NOT_RESUMED, lambda play: play.auditor.welcomed("bob", welcome("bob"), {"hall": 0})),
    (
        FaultKind.NOT_RESUMED,
        lambda play: play.auditor.welcomed("bob", resumed("bob", 0, id="Q"), {"hall": 0}),
    ),
    (FaultKind.WRONG_PLACE, lambda play: play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 0})),
    (FaultKind.WRONG_PLACE, lambda play: play.auditor.entered("bob", "hall", 3)),
    (FaultKind.WRONG_PLACE, wrong_conversation),
    (FaultKind.WRONG_PLACE, another_room),
    (FaultKind.WRONG_PLACE, reopened_elsewhere),
    (FaultKind.EPOCH, lambda play: play.auditor.welcomed("bob", welcome("bob", epoch="f"), None)),
    (FaultKind.NOT_A_MEMBER, lambda play: play.show("bob", said(1, room="attic"))),
    (FaultKind.BAD_FRAME, lambda play: play.auditor.report_fault(FaultKind.BAD_FRAME, "bob", "{")),
    (FaultKind.NOT_QUIET, lambda play: play.auditor.report_fault(FaultKind.NOT_QUIET, "bob", "still behind")),
]


@pytest.mark.parametrize(("kind", "wrong"), BAD)
def test_it_finds(play: AuditedPlay, kind: FaultKind, wrong: Callable[[AuditedPlay], object]) -> None:
    wrong(play)
    assert kind in play.end()
    with pytest.raises(FaultsFound, match=f"(?s)seed 7: .*{kind}"):
        play.auditor.raise_if_faults()


def test_each_kind_of_fault_is_shown_to_be_found() -> None:
    assert {kind for kind, _ in BAD} == set(FaultKind)


def test_conversation_behind_an_opening_is_excused_only_where_a_proxy_lost_one(play: AuditedPlay) -> None:
    play.auditor.lost_opening = lambda receiver, room: (receiver, room) == ("bob", "@ann,bob")
    wrong_conversation(play)
    assert play.auditor.excused == 1
    assert FaultKind.WRONG_PLACE not in play.auditor.counts
    play.auditor.entered("ann", "@ann,bob", 4)
    assert play.auditor.counts[FaultKind.WRONG_PLACE] == 1


def test_a_finding_says_where_and_what_came_before(play: AuditedPlay) -> None:
    play.auditor.note_event("kill -9 3")
    play.show("bob", said(1), said(4))
    with pytest.raises(FaultsFound) as raised:
        play.auditor.raise_if_faults()
    text = str(raised.value)
    assert "seed 7: hole at bob, room hall, seq 4: it follows 1" in text
    assert "message hall 1" in text
    assert "** kill -9 3" in text


STREAMS = st.lists(st.integers(1, 5), max_size=9)


@given(STREAMS)
def test_only_the_whole_log_in_order_passes(seqs: list[int]) -> None:
    play = AuditedPlay()
    play.all_well("ann")
    play.show("bob", *(said(seq) for seq in seqs))
    assert (play.end() == set()) == (seqs == [1, 2, 3, 4, 5])

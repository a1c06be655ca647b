"""The auditor finds each fault in a stream that has it, and none in one that has not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.audit.auditor import Auditor
from chaos.audit.faults import Found, Kind

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


class Play:
    """Ann and bob are in the hall, ann has sent five messages, all of them stored."""

    def __init__(self) -> None:
        self.auditor = Auditor("7")
        for name in IDS:
            self.auditor.welcomed(name, welcome(name), None)
        for seq in range(1, 6):
            self.auditor.sent("ann", f"m{seq}", "hall", f"text {seq}")
        self.log = [said(seq) for seq in range(1, 6)]

    def show(self, name: str, *frames: Frame) -> "Play":
        for frame in frames:
            self.auditor.message(name, frame, json.dumps(frame).encode())
        return self

    def all_well(self, name: str, first: int = 1, last: int = 5) -> "Play":
        return self.show(name, *(said(seq) for seq in range(first, last + 1)))

    def end(self) -> set[Kind]:
        self.auditor.finish({"hall": self.log})
        return set(self.auditor.counts)


@pytest.fixture
def play() -> Play:
    return Play()


def test_nothing_is_found_where_nothing_is_wrong(play: Play) -> None:
    play.all_well("ann")
    play.all_well("bob")
    assert play.end() == set()
    play.auditor.verdict()
    assert play.auditor.acknowledged == 5


def test_nothing_is_found_when_a_session_comes_back_rightly(play: Play) -> None:
    # Given ann, cut off before the last two acknowledgements, and bob, cut off after the second message
    play.all_well("ann", 1, 3)
    play.all_well("bob", 1, 2)

    # When they come back, and ann sends again
    play.auditor.welcomed("ann", resumed("ann", 3), {"hall": 3})
    for seq in (4, 5):
        play.auditor.sent("ann", f"m{seq}", "hall", f"text {seq}")
    play.auditor.message("ann", said(4, again=True), b"")
    play.all_well("ann", 4, 5)
    play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 2})
    play.all_well("bob", 3, 5)

    # Then all is well, and each is acknowledged
    assert play.end() == set()
    assert play.auditor.unacknowledged() == 0


def test_a_refusal_is_no_loss_if_it_is_sent_again(play: Play) -> None:
    play.auditor.sent("ann", "m6", "hall", "text 6")
    play.auditor.refused("ann", {"code": "unavailable", "ref": "m6"}, explained=True)
    assert play.auditor.unacknowledged() == 6
    play.auditor.sent("ann", "m6", "hall", "text 6")
    play.log.append(said(6))
    play.all_well("ann", 1, 6)
    play.all_well("bob", 1, 6)
    assert play.end() == set()


def test_a_gap_is_no_fault_where_the_log_has_lost_its_beginning(play: Play) -> None:
    play.auditor.trimmed = set()
    play.all_well("ann")
    play.show("bob", said(1))
    play.auditor.gap("bob", {"room": "hall", "first": 2, "last": 3})
    play.all_well("bob", 4, 5)
    del play.log[:3]
    assert play.end() == set()
    assert play.auditor.gaps == 1


def gap_elsewhere(play: Play) -> None:
    play.auditor.trimmed = set()
    play.show("bob", said(1))
    play.auditor.gap("bob", {"room": "hall", "first": 3, "last": 3})


def another_room(play: Play) -> None:
    frame = resumed("bob", 0)
    frame["rooms"].append({"room": "attic", "seq": 0, "count": 1})
    play.auditor.welcomed("bob", frame, {"hall": 0})


def reopened_elsewhere(play: Play) -> None:
    play.auditor.entered("bob", "@ann,bob", 0)
    play.auditor.left("bob", "@ann,bob")
    play.auditor.entered("bob", "@ann,bob", 2)


def wrong_conversation(play: Play) -> None:
    frame = resumed("bob", 0)
    frame["rooms"].append({"room": "@ann,bob", "seq": 4, "count": 2})
    play.auditor.welcomed("bob", frame, {"hall": 0})


def no_ref_of_hers(play: Play) -> None:
    play.show("bob", *(said(seq) for seq in range(1, 6)), said(6, ref="m99", message="boo"))


def one_more_again_than_tries(play: Play) -> None:
    play.all_well("ann")
    play.show("ann", said(3, again=True))


def another_again(play: Play) -> None:
    play.auditor.sent("ann", "m3", "hall", "text 3")
    play.show("ann", *(said(seq) for seq in (1, 2, 3)), said(2, ref="m3", message="text 3", again=True))


def same_send_twice(play: Play) -> None:
    play.all_well("bob")
    play.show("bob", said(6, ref="m5", message="text 5"))


def two_acknowledgements(play: Play) -> None:
    play.all_well("ann")
    play.show("ann", said(6, ref="m5", message="text 5"))


def in_log_twice(play: Play) -> None:
    play.log.append(said(6, ref="m5", message="text 5"))


def an_empty_log(play: Play) -> None:
    play.show("bob", said(1))
    play.log = []


def out_of_order(play: Play) -> None:
    play.show("bob", said(1), said(3), said(2), said(4), said(5))


BAD: list[tuple[Kind, Callable[[Play], object]]] = [
    (Kind.LOST, lambda play: play.all_well("bob", 1, 4)),
    (Kind.LOST, lambda play: play.show("bob", said(1), said(3), said(4), said(5))),
    (Kind.LOST, lambda play: play.all_well("ann")),
    (Kind.REPEATED, lambda play: play.show("bob", said(1), said(2), said(2))),
    (Kind.REPEATED, lambda play: play.show("bob", said(1), said(2), said(1))),
    (Kind.OUT_OF_ORDER, out_of_order),
    (Kind.HOLE, lambda play: play.show("bob", said(1), said(3))),
    (Kind.HOLE, lambda play: play.show("bob", said(2))),
    (Kind.GAP, lambda play: play.auditor.gap("bob", {"room": "hall", "first": 1, "last": 2})),
    (Kind.GAP, gap_elsewhere),
    (Kind.WRONG_TEXT, lambda play: play.show("bob", said(1, message="text 2"))),
    (Kind.WRONG_TEXT, lambda play: play.show("ann", said(1, message="other", again=True))),
    (Kind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, from_="B"))),
    (Kind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, from_="Z"))),
    (Kind.WRONG_AUTHOR, lambda play: play.show("bob", said(1, username="bob"))),
    (Kind.WRONG_ROOM, lambda play: play.show("bob", said(1, room="attic"))),
    (Kind.DIFFERENT, lambda play: (play.show("ann", said(1)), play.show("bob", said(1, timestamp=2.5)))),
    (Kind.FORGED, no_ref_of_hers),
    (Kind.FORGED, lambda play: play.show("bob", said(1, again=True))),
    (Kind.FORGED, lambda play: play.log.append(said(6, ref="m99", message="boo"))),
    (Kind.NOT_IN_LOG, lambda play: (play.all_well("bob"), play.log.pop())),
    (Kind.NOT_IN_LOG, an_empty_log),
    (Kind.LOG_BROKEN, lambda play: play.log.pop(2)),
    (Kind.LOG_BROKEN, lambda play: play.log.reverse()),
    (Kind.STORED_TWICE, same_send_twice),
    (Kind.STORED_TWICE, another_again),
    (Kind.STORED_TWICE, in_log_twice),
    (Kind.ACKED_TWICE, one_more_again_than_tries),
    (Kind.ACKED_TWICE, two_acknowledgements),
    (Kind.ACKED_LOST, lambda play: (play.all_well("ann"), play.log.pop())),
    (Kind.UNANSWERED, lambda play: play.auditor.sent("bob", "b1", "hall", "x")),
    (Kind.REFUSED, lambda play: play.auditor.refused("ann", {"code": "internal"}, explained=False)),
    (Kind.NOT_RESUMED, lambda play: play.auditor.welcomed("bob", welcome("bob"), {"hall": 0})),
    (Kind.NOT_RESUMED, lambda play: play.auditor.welcomed("bob", resumed("bob", 0, id="Q"), {"hall": 0})),
    (Kind.WRONG_PLACE, lambda play: play.auditor.welcomed("bob", resumed("bob", 2), {"hall": 0})),
    (Kind.WRONG_PLACE, lambda play: play.auditor.entered("bob", "hall", 3)),
    (Kind.WRONG_PLACE, wrong_conversation),
    (Kind.WRONG_PLACE, another_room),
    (Kind.WRONG_PLACE, reopened_elsewhere),
    (Kind.EPOCH, lambda play: play.auditor.welcomed("bob", welcome("bob", epoch="f"), None)),
    (Kind.NOT_A_MEMBER, lambda play: play.show("bob", said(1, room="attic"))),
    (Kind.BAD_FRAME, lambda play: play.auditor.fault(Kind.BAD_FRAME, "bob", "{")),
    (Kind.NOT_QUIET, lambda play: play.auditor.fault(Kind.NOT_QUIET, "bob", "still behind")),
]


@pytest.mark.parametrize(("kind", "wrong"), BAD)
def test_it_finds(play: Play, kind: Kind, wrong: Callable[[Play], object]) -> None:
    wrong(play)
    assert kind in play.end()
    with pytest.raises(Found, match=f"(?s)seed 7: .*{kind}"):
        play.auditor.verdict()


def test_each_kind_of_fault_is_shown_to_be_found() -> None:
    assert {kind for kind, _ in BAD} == set(Kind)


def test_a_finding_says_where_and_what_came_before(play: Play) -> None:
    play.auditor.note("kill -9 3")
    play.show("bob", said(1), said(4))
    with pytest.raises(Found) as raised:
        play.auditor.verdict()
    text = str(raised.value)
    assert "seed 7: hole at bob, room hall, seq 4: it follows 1" in text
    assert "message hall 1" in text
    assert "** kill -9 3" in text


STREAMS = st.lists(st.integers(1, 5), max_size=9)


@given(STREAMS)
def test_only_the_whole_log_in_order_passes(seqs: list[int]) -> None:
    play = Play()
    play.all_well("ann")
    play.show("bob", *(said(seq) for seq in seqs))
    assert (play.end() == set()) == (seqs == [1, 2, 3, 4, 5])

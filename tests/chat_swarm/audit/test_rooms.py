"""What a room holds: a story for each thing that is found there, and for each that is no fault."""

import pytest

from chat_swarm.audit.merge import reckon
from chat_swarm.audit.process_audit import Audit
from support.swarm.audits import end, found, says


def test_two_messages_under_one_seq_are_mismatched() -> None:
    audit = Audit()
    says(audit, (1, "ann", 1), (2, "bob", 1), (2, "bob", 2), (2, "bob", 2), (3, "bob", 2))
    assert audit.take_faults() == {"mismatched": 1}
    result = end(audit)
    assert found(result) == {"mismatched": 1}
    assert result.faults[0].first == 2
    assert result.faults[0].detail == "2 is message 1 of bob to one receiver, and message 2 of bob to another"


def test_what_is_wrong_at_first_does_not_spoil_what_follows() -> None:
    audit = Audit()
    says(audit, (1, "ann", 1), (2, "ann", 90), (2, "ann", 2), (3, "ann", 3))
    assert found(end(audit)) == {"mismatched": 1}
    audit = Audit()
    says(audit, (1, "ann", 1), (2, "bob", 7), (3, "ann", 3), (2, "ann", 2))
    assert found(end(audit)) == {"mismatched": 1}


def test_two_processes_may_be_shown_different_messages() -> None:
    here, there = Audit(), Audit()
    says(here, (1, "bob", 1), (2, "ann", 2), (3, "ann", 3))
    says(there, (2, "ann", 2), (3, "bob", 2))
    result = end(here, there)
    assert found(result) == {"mismatched": 1}
    assert result.faults[0].first == 3
    assert result.faults[0].detail == "3 is message 3 of ann to one process, and message 2 of bob to another"


def test_one_message_under_two_seqs_is_repeated_however_many_see_it() -> None:
    here, there = Audit(), Audit()
    for audit in (here, there):
        says(audit, (1, "ann", 1), (2, "bob", 1), (3, "ann", 2), (4, "bob", 1), (5, "bob", 2))
    result = end(here, there)
    assert found(result) == {"repeated": 1}
    assert (result.faults[0].first, result.faults[0].bot) == (4, "bob")
    assert result.faults[0].detail == "message 1 of bob was stored twice: as 2 and as 4"


def test_a_sender_whose_messages_come_in_another_order_is_reordered() -> None:
    audit = Audit()
    says(audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    result = end(audit)
    assert found(result) == {"reordered": 1}
    assert result.faults[0].detail == "message 2 of ann came as 3, after its message 3"


def test_a_message_stored_twice_is_not_reordered_to_those_who_came_in_between() -> None:
    here, there = Audit(), Audit()
    says(here, (1, "ann", 1), (2, "ann", 2), (3, "ann", 1))
    says(there, (2, "ann", 2), (3, "ann", 1))
    assert found(end(here, there)) == {"repeated": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_was_sent_again_may_come_later(elsewhere: bool) -> None:
    here, there = Audit(), Audit()
    (there if elsewhere else here).refused("hall", "ann", 2)
    says(here, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    assert here.take_faults() == ({"reordered": 1} if elsewhere else {})  # nobody here can know
    assert found(end(here, there)) == {}


def test_what_a_sender_left_out_is_lost_once_if_nobody_refused_it() -> None:
    audits = Audit(), Audit()
    for audit in audits:
        says(audit, (1, "ann", 1), (2, "ann", 4))
    result = end(*audits)
    assert found(result) == {"lost": 2}
    assert result.faults[0].first == 2
    assert result.faults[0].detail == "messages 2 to 3 of ann, neither refused nor stored: 2 is a later one"


def test_what_was_refused_is_rightly_missing() -> None:
    here, there = Audit(), Audit()
    says(here, (1, "ann", 1), (2, "ann", 4), (3, "ann", 6))
    there.refused("hall", "ann", 5)
    there.refused("hall", "ann", 2)
    there.refused("den", "ann", 3)
    there.refused("hall", "bob", 3)
    assert found(end(here, there)) == {"lost": 1}


def test_what_nobody_here_was_shown_says_nothing_of_its_senders() -> None:
    audit = Audit()
    says(audit, (5, "ann", 5), (8, "ann", 9), (9, "ann", 10), (3, "ann", 3))
    says(audit, (5_000, "ann", 6_000), (5_001, "ann", 6_001))
    assert found(end(audit)) == {}
    assert audit.heads() == {"hall": 5_001}


def test_what_is_shown_late_is_still_looked_at_in_its_place() -> None:
    audit = Audit()
    says(audit, (1, "ann", 1), (4, "ann", 4), (5, "ann", 5), (3, "ann", 2), (2, "ann", 3))
    result = end(audit)
    assert found(result) == {"reordered": 1}
    assert result.faults[0].first == 3


@pytest.mark.parametrize("later", [5, 700, 1_000_000])
def test_a_hole_hides_nothing_behind_it(later: int) -> None:
    audit = Audit()
    says(audit, (1, "ann", 1), (3, "ann", 3), (4, "ann", 2), (later, "bob", 1))
    final = audit.final()
    assert found(reckon([final])) == {"reordered": 1}
    assert len(final["records"]["hall"][2]) <= 8 * 700  # bytes of entries


def test_what_has_left_the_window_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_swarm.audit.room_log.WINDOW", 8)
    monkeypatch.setattr("chat_swarm.audit.room_log.BLOCK", 4)
    monkeypatch.setattr("chat_swarm.audit.room_log.BLOCKS", 2)
    audit = Audit()
    says(audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), *((seq, "ann", seq) for seq in range(4, 50)))
    final = audit.final()
    assert found(reckon([final])) == {"reordered": 1}
    assert list(final["records"]["hall"][3]) == [9, 10]  # the last two blocks before the window


def test_blocks_are_the_same_wherever_one_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("room_log.WINDOW", "room_log.BLOCK", "records.BLOCK"):
        monkeypatch.setattr(f"chat_swarm.{name}", 4)
    here, there = Audit(), Audit()
    says(here, *((seq, "ann", seq) for seq in range(1, 30)))
    says(there, *((seq, "ann", 5 if seq == 6 else seq) for seq in range(4, 30)))
    there.refused("hall", "ann", 5)
    result = end(here, there)
    assert result.counts["mismatched"] == 1
    assert "one of 5 to 8" in next(fault.detail for fault in result.faults if fault.kind == "mismatched")

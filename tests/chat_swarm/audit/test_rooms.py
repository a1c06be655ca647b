"""What a room holds: a story for each thing that is found there, and for each that is no fault."""

import pytest

from chat_swarm.audit.merge import merge_audits
from chat_swarm.audit.process_audit import ProcessAudit
from support.swarm.audits import found_faults, merged_result, observe_messages


def test_two_messages_under_one_seq_are_mismatched() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "bob", 1), (2, "bob", 2), (2, "bob", 2), (3, "bob", 2))
    assert audit.take_faults() == {"mismatched": 1}
    result = merged_result(audit)
    assert found_faults(result) == {"mismatched": 1}
    assert result.faults[0].first == 2
    assert result.faults[0].detail == "2 is message 1 of bob to one receiver, and message 2 of bob to another"


def test_what_is_wrong_at_first_does_not_spoil_what_follows() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "ann", 90), (2, "ann", 2), (3, "ann", 3))
    assert found_faults(merged_result(audit)) == {"mismatched": 1}
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "bob", 7), (3, "ann", 3), (2, "ann", 2))
    assert found_faults(merged_result(audit)) == {"mismatched": 1}


def test_two_processes_may_be_shown_different_messages() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, (1, "bob", 1), (2, "ann", 2), (3, "ann", 3))
    observe_messages(there, (2, "ann", 2), (3, "bob", 2))
    result = merged_result(here, there)
    assert found_faults(result) == {"mismatched": 1}
    assert result.faults[0].first == 3
    assert result.faults[0].detail == "3 is message 3 of ann to one process, and message 2 of bob to another"


def test_one_message_under_two_seqs_is_repeated_however_many_see_it() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    for audit in (here, there):
        observe_messages(audit, (1, "ann", 1), (2, "bob", 1), (3, "ann", 2), (4, "bob", 1), (5, "bob", 2))
    result = merged_result(here, there)
    assert found_faults(result) == {"repeated": 1}
    assert (result.faults[0].first, result.faults[0].bot) == (4, "bob")
    assert result.faults[0].detail == "message 1 of bob was stored twice: as 2 and as 4"


def test_a_sender_whose_messages_come_in_another_order_is_reordered() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    result = merged_result(audit)
    assert found_faults(result) == {"reordered": 1}
    assert result.faults[0].detail == "message 2 of ann came as 3, after its message 3"


def test_a_message_stored_twice_is_not_reordered_to_those_who_came_in_between() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, (1, "ann", 1), (2, "ann", 2), (3, "ann", 1))
    observe_messages(there, (2, "ann", 2), (3, "ann", 1))
    assert found_faults(merged_result(here, there)) == {"repeated": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_was_sent_again_may_come_later(elsewhere: bool) -> None:
    here, there = ProcessAudit(), ProcessAudit()
    (there if elsewhere else here).excuse_counter("hall", "ann", 2)
    observe_messages(here, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    assert here.take_faults() == ({"reordered": 1} if elsewhere else {})  # nobody here can know
    assert found_faults(merged_result(here, there)) == {}


def test_what_a_sender_left_out_is_lost_once_if_nobody_refused_it() -> None:
    audits = ProcessAudit(), ProcessAudit()
    for audit in audits:
        observe_messages(audit, (1, "ann", 1), (2, "ann", 4))
    result = merged_result(*audits)
    assert found_faults(result) == {"lost": 2}
    assert result.faults[0].first == 2
    assert result.faults[0].detail == "messages 2 to 3 of ann, neither refused nor stored: 2 is a later one"


def test_what_was_refused_is_rightly_missing() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, (1, "ann", 1), (2, "ann", 4), (3, "ann", 6))
    there.excuse_counter("hall", "ann", 5)
    there.excuse_counter("hall", "ann", 2)
    there.excuse_counter("den", "ann", 3)
    there.excuse_counter("hall", "bob", 3)
    assert found_faults(merged_result(here, there)) == {"lost": 1}


def test_what_nobody_here_was_shown_says_nothing_of_its_senders() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (5, "ann", 5), (8, "ann", 9), (9, "ann", 10), (3, "ann", 3))
    observe_messages(audit, (5_000, "ann", 6_000), (5_001, "ann", 6_001))
    assert found_faults(merged_result(audit)) == {}
    assert audit.heads() == {"hall": 5_001}


def test_what_is_shown_late_is_still_looked_at_in_its_place() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (4, "ann", 4), (5, "ann", 5), (3, "ann", 2), (2, "ann", 3))
    result = merged_result(audit)
    assert found_faults(result) == {"reordered": 1}
    assert result.faults[0].first == 3


@pytest.mark.parametrize("later", [5, 700, 1_000_000])
def test_a_hole_hides_nothing_behind_it(later: int) -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (3, "ann", 3), (4, "ann", 2), (later, "bob", 1))
    final = audit.final_report()
    assert found_faults(merge_audits([final])) == {"reordered": 1}
    assert len(final["records"]["hall"][2]) <= 8 * 700  # bytes of entries


def test_what_has_left_the_window_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_swarm.audit.room_log.WINDOW_SEQS", 8)
    monkeypatch.setattr("chat_swarm.audit.room_log.BLOCK_SEQS", 4)
    monkeypatch.setattr("chat_swarm.audit.room_log.DIGESTS_KEPT", 2)
    audit = ProcessAudit()
    observe_messages(
        audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), *((seq, "ann", seq) for seq in range(4, 50))
    )
    final = audit.final_report()
    assert found_faults(merge_audits([final])) == {"reordered": 1}
    assert list(final["records"]["hall"][3]) == [9, 10]  # the last two blocks before the window


def test_blocks_are_the_same_wherever_one_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("room_log.WINDOW_SEQS", "room_log.BLOCK_SEQS", "log_diff.BLOCK_SEQS"):
        monkeypatch.setattr(f"chat_swarm.audit.{name}", 4)
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, *((seq, "ann", seq) for seq in range(1, 30)))
    observe_messages(there, *((seq, "ann", 5 if seq == 6 else seq) for seq in range(4, 30)))
    there.excuse_counter("hall", "ann", 5)
    result = merged_result(here, there)
    assert result.counts["mismatched"] == 1
    assert "one of 5 to 8" in next(fault.detail for fault in result.faults if fault.kind == "mismatched")

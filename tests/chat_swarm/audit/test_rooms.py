"""Room logs: a case for each fault of a room's contents, and for each situation without one."""

import pytest

from chat_swarm.audit.merge import merge_audits
from chat_swarm.audit.process_audit import ProcessAudit
from support.swarm.audits import found_faults, merged_result, observe_messages


def test_room_two_messages_with_one_seq_are_mismatched() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "bob", 1), (2, "bob", 2), (2, "bob", 2), (3, "bob", 2))
    assert audit.take_faults() == {"mismatched": 1}
    result = merged_result(audit)
    assert found_faults(result) == {"mismatched": 1}
    assert result.faults[0].first == 2
    assert result.faults[0].detail == "one that left was shown another message than carl"


def test_room_mismatch_does_not_cause_further_faults() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "ann", 90), (2, "ann", 2), (3, "ann", 3))
    assert found_faults(merged_result(audit)) == {"mismatched": 1}
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "bob", 7), (3, "ann", 3), (2, "ann", 2))
    assert found_faults(merged_result(audit)) == {"mismatched": 1}


def test_room_different_messages_in_two_processes_are_mismatched() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    for audit, names in ((here, ("ann", "bob")), (there, ("eve",))):
        for name in names:
            audit.follow(name, "hall", 1).position = 3
    observe_messages(here, (1, "bob", 1), (2, "ann", 2), (3, "ann", 3))
    observe_messages(there, (2, "ann", 2), (3, "bob", 2))
    result = merged_result(here, there)
    assert found_faults(result) == {"mismatched": 1}
    fault = result.faults[0]
    assert (fault.room, fault.bot, fault.first, fault.last) == ("hall", "eve", 3, 3)
    assert fault.detail == "eve was shown another message than 2 others"


def test_room_message_with_two_seqs_is_repeated_once_for_all_processes() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    for audit in (here, there):
        observe_messages(audit, (1, "ann", 1), (2, "bob", 1), (3, "ann", 2), (4, "bob", 1), (5, "bob", 2))
    result = merged_result(here, there)
    assert found_faults(result) == {"repeated": 1}
    assert (result.faults[0].first, result.faults[0].bot) == (4, "bob")
    assert result.faults[0].detail == "message 1 of bob was stored twice: as seq 2 and as seq 4"


def test_room_sender_order_violated_is_reordered() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    result = merged_result(audit)
    assert found_faults(result) == {"reordered": 1}
    assert result.faults[0].detail == "message 2 of ann has seq 3, after its message 3"


def test_room_message_stored_twice_is_not_reordered_for_late_joiners() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, (1, "ann", 1), (2, "ann", 2), (3, "ann", 1))
    observe_messages(there, (2, "ann", 2), (3, "ann", 1))
    assert found_faults(merged_result(here, there)) == {"repeated": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_room_message_sent_again_may_be_stored_late(elsewhere: bool) -> None:
    here, there = ProcessAudit(), ProcessAudit()
    (there if elsewhere else here).excuse_counter("hall", "ann", 2)
    observe_messages(here, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), (4, "ann", 4))
    assert here.take_faults() == ({"reordered": 1} if elsewhere else {})  # this process cannot know
    assert found_faults(merged_result(here, there)) == {}


def test_room_skipped_counter_is_lost_once_unless_excused() -> None:
    audits = ProcessAudit(), ProcessAudit()
    for audit in audits:
        observe_messages(audit, (1, "ann", 1), (2, "ann", 4))
    result = merged_result(*audits)
    assert found_faults(result) == {"lost": 2}
    assert result.faults[0].first == 2
    assert (
        result.faults[0].detail
        == "messages 2 to 3 of ann: neither refused nor stored, but a later one is, as seq 2"
    )


def test_room_excused_counters_may_be_missing() -> None:
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, (1, "ann", 1), (2, "ann", 4), (3, "ann", 6))
    there.excuse_counter("hall", "ann", 5)
    there.excuse_counter("hall", "ann", 2)
    there.excuse_counter("den", "ann", 3)
    there.excuse_counter("hall", "bob", 3)
    assert found_faults(merged_result(here, there)) == {"lost": 1}


def test_room_unobserved_seqs_say_nothing_about_senders() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (5, "ann", 5), (8, "ann", 9), (9, "ann", 10), (3, "ann", 3))
    observe_messages(audit, (5_000, "ann", 6_000), (5_001, "ann", 6_001))
    assert found_faults(merged_result(audit)) == {}
    assert audit.heads() == {"hall": 5_001}


def test_room_late_message_is_checked_at_its_seq() -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (4, "ann", 4), (5, "ann", 5), (3, "ann", 2), (2, "ann", 3))
    result = merged_result(audit)
    assert found_faults(result) == {"reordered": 1}
    assert result.faults[0].first == 3


@pytest.mark.parametrize("later", [5, 700, 1_000_000])
def test_room_hole_does_not_hide_later_faults(later: int) -> None:
    audit = ProcessAudit()
    observe_messages(audit, (1, "ann", 1), (3, "ann", 3), (4, "ann", 2), (later, "bob", 1))
    final = audit.final_report()
    assert found_faults(merge_audits([final])) == {"reordered": 1}
    assert len(final["records"]["hall"][2]) <= 8 * 700  # bytes of entries


def test_room_entries_are_checked_before_they_leave_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_swarm.audit.room_log.WINDOW_SEQS", 8)
    monkeypatch.setattr("chat_swarm.audit.room_log.BLOCK_SEQS", 4)
    monkeypatch.setattr("chat_swarm.audit.room_log.SHARED_WINDOW_SEQS", 0)
    monkeypatch.setattr("chat_swarm.audit.room_log.DIGESTS_KEPT", 2)
    audit = ProcessAudit()
    observe_messages(
        audit, (1, "ann", 1), (2, "ann", 3), (3, "ann", 2), *((seq, "ann", seq) for seq in range(4, 50))
    )
    final = audit.final_report()
    assert found_faults(merge_audits([final])) == {"reordered": 1}
    assert list(final["records"]["hall"][3]) == [9, 10]  # the last two blocks before the window


def test_room_digests_are_equal_for_processes_joining_at_different_seqs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("room_log.WINDOW_SEQS", "room_log.BLOCK_SEQS", "log_diff.BLOCK_SEQS"):
        monkeypatch.setattr(f"chat_swarm.audit.{name}", 4)
    monkeypatch.setattr("chat_swarm.audit.room_log.SHARED_WINDOW_SEQS", 0)
    here, there = ProcessAudit(), ProcessAudit()
    observe_messages(here, *((seq, "ann", seq) for seq in range(1, 30)))
    observe_messages(there, *((seq, "ann", 5 if seq == 6 else seq) for seq in range(4, 30)))
    there.excuse_counter("hall", "ann", 5)
    result = merged_result(here, there)
    assert result.counts["mismatched"] == 1
    assert "a seq of 5 to 8" in next(fault.detail for fault in result.faults if fault.kind == "mismatched")

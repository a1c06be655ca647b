"""The audit of one process: a case for each fault of a receiver, and for each situation without one."""

import pytest

from chat_swarm.audit.process_audit import ProcessAudit
from chat_swarm.model.schema import AuditResult
from support.swarm.audits import deliver, found_faults, merged_result, observe_messages


def story(*runs: tuple[int, int], head: int = 0) -> AuditResult:
    """Return the result for one receiver that joined at 40."""
    audit = ProcessAudit()
    deliver(audit, audit.follow("c9-17", "hall", 40), *runs)
    audit.note_durable("hall", head)
    return merged_result(audit)


# Receivers.


def test_receiver_complete_stream_passes() -> None:
    result = story((41, 41), (42, 50), head=50)
    assert result.passed
    assert (result.receivers, result.checked, result.rooms, result.unfinished) == (1, 10, 1, 0)


def test_receiver_skipped_seq_is_lost() -> None:
    result = story((41, 41), (43, 44))
    assert found_faults(result) == {"lost": 1}
    (fault,) = result.faults
    assert (fault.room, fault.bot, fault.first, fault.last) == ("hall", "c9-17", 42, 42)
    assert fault.detail == "c9-17 got 41 and then 43"
    assert result.checked == 3


def test_receiver_missing_first_seq_is_lost() -> None:
    assert story((42, 42)).faults[0].detail == "c9-17 joined at 40 and got 42 first"


def test_receiver_late_seq_is_reordered_not_lost() -> None:
    result = story((41, 41), (43, 43), (42, 42), (44, 44))
    assert found_faults(result) == {"reordered": 1}
    assert result.faults[0].detail == "c9-17 got 42 after 43"
    assert (result.faults[0].first, result.checked) == (42, 4)


def test_receiver_second_delivery_is_repeated() -> None:
    result = story((41, 42), (42, 44))
    assert found_faults(result) == {"repeated": 1}
    assert result.faults[0].detail == "c9-17 got 42 again, at position 42"
    assert result.checked == 5


def test_receiver_run_can_be_late_repeated_and_new_at_once() -> None:
    result = story((41, 41), (43, 43), (41, 45))
    assert found_faults(result) == {"repeated": 2, "reordered": 1}
    assert {(fault.kind, fault.first, fault.last) for fault in result.faults} == {
        ("reordered", 42, 42),
        ("repeated", 41, 41),
        ("repeated", 43, 43),
    }


def test_receiver_below_the_head_at_the_end_is_lost() -> None:
    result = story((41, 48), head=50)
    assert found_faults(result) == {"lost": 2}
    assert result.unfinished == 1
    assert result.faults[0].detail == "c9-17 never got 49 to 50: its position at the end was 48"


def test_merge_uses_a_head_that_only_another_process_knows() -> None:
    # Given a room with receivers in two processes
    here, there = ProcessAudit(), ProcessAudit()
    behind = here.follow("ann", "hall", 0)
    ahead = there.follow("bob", "hall", 0)

    # When only one of them gets the last message
    deliver(here, behind, (1, 4))
    deliver(there, ahead, (1, 5))

    # Then the other's process cannot know, but the merge does
    assert here.count_behind(here.heads()) == 0
    assert here.count_behind(there.heads()) == 1
    assert here.count_behind({"elsewhere": 9}) == 0
    assert found_faults(merged_result(here, there)) == {"lost": 1}


def test_receiver_joining_at_a_higher_seq_shows_others_are_behind() -> None:
    audit = ProcessAudit()
    deliver(audit, audit.follow("ann", "hall", 0), (1, 4))
    audit.follow("bob", "hall", 5)
    assert found_faults(merged_result(audit)) == {"lost": 1}


def test_receiver_unfollowed_is_owed_nothing_more() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    deliver(audit, receiver, (1, 4))
    audit.unfollow(receiver)
    audit.unfollow(receiver)
    audit.observe_out_of_sequence(receiver, 9, 9)
    audit.observe_gap(receiver, 9, 9)
    audit.note_durable("hall", 9)
    result = merged_result(audit)
    assert found_faults(result) == {}
    assert (result.checked, result.receivers, result.unfinished) == (4, 1, 0)


def test_receiver_unfollowed_position_is_owed_to_the_others() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    deliver(audit, receiver, (1, 5))
    audit.unfollow(receiver)
    deliver(audit, audit.follow("bob", "hall", 0), (1, 4))
    assert found_faults(merged_result(audit)) == {"lost": 1}


def test_receiver_unfollowed_keeps_its_losses() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    deliver(audit, receiver, (1, 1), (3, 3))
    audit.unfollow(receiver)
    assert found_faults(merged_result(audit)) == {"lost": 1}


def test_receiver_slow_need_not_reach_the_head() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("slow", "hall", 0)
    receiver.slow = True
    deliver(audit, receiver, (1, 4))
    audit.note_durable("hall", 9)
    result = merged_result(audit)
    assert result.passed
    assert result.unfinished == 1
    assert "1 bots that read slowly" in result.notes[0]


# Gaps.


def test_gap_to_a_connected_receiver_is_a_fault() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    deliver(audit, receiver, (1, 1))
    audit.observe_gap(receiver, 2, 4)
    deliver(audit, receiver, (5, 5))
    result = merged_result(audit)
    assert found_faults(result) == {"gaps": 3}
    assert (result.checked, result.explained_gaps) == (2, 0)
    assert "the server reported the gap 2 to 4 to ann" in result.faults[0].detail


def test_gap_to_an_excused_receiver_is_explained() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    receiver.excused = True
    audit.observe_gap(receiver, 1, 4)
    deliver(audit, receiver, (5, 5))
    result = merged_result(audit)
    assert result.passed
    assert (result.checked, result.explained_gaps) == (1, 4)


def test_gap_explains_only_its_own_seqs() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    receiver.excused = True
    deliver(audit, receiver, (1, 1))
    audit.observe_gap(receiver, 3, 4)
    assert found_faults(merged_result(audit)) == {"lost": 1}


def test_gap_explains_seqs_counted_as_lost() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    receiver.excused = True
    deliver(audit, receiver, (1, 1), (4, 4))
    audit.observe_gap(receiver, 2, 3)
    assert found_faults(merged_result(audit)) == {}


# Faults per second, and limits.


def test_take_faults_returns_those_since_the_last_call() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    assert audit.take_faults() == {}
    deliver(audit, receiver, (3, 3))
    observe_messages(audit, (3, "ann", 1), (3, "ann", 2))
    assert audit.take_faults() == {"lost": 2, "mismatched": 1}
    deliver(audit, receiver, (2, 2))
    assert audit.take_faults() == {"reordered": 1}
    deliver(audit, receiver, (5, 5), (7, 7))
    assert audit.take_faults() == {"lost": 1}
    assert found_faults(merged_result(audit)) == {"lost": 3, "mismatched": 1, "reordered": 1}


def test_message_without_an_answer_is_a_fault() -> None:
    audit = ProcessAudit()
    audit.count_unanswered("hall", "ann", 0)
    assert audit.take_faults() == {}
    audit.count_unanswered("hall", "ann", 2)
    result = merged_result(audit)
    assert found_faults(result) == {"unanswered": 2}
    assert result.faults[0].detail == "2 of ann's messages were neither acknowledged nor refused"


def test_many_faults_are_all_counted_and_each_kind_has_a_text() -> None:
    audit = ProcessAudit()
    receiver = audit.follow("ann", "hall", 0)
    for seq in range(2, 8_002, 2):
        deliver(audit, receiver, (seq, seq))
    observe_messages(audit, *((seq, "bob", 1) for seq in range(1, 3_001)))
    audit.count_unanswered("hall", "ann", 1)
    result = merged_result(audit)
    assert result.counts["lost"] == 4_000
    assert result.counts["repeated"] == 2_999
    assert len(result.faults) == 100
    assert len(audit.final_report()["faults"]) == 100
    assert {fault.kind for fault in result.faults} == {"lost", "repeated", "unanswered"}


def test_merge_with_a_note_does_not_pass() -> None:
    result = merged_result(ProcessAudit(), notes=("process 3 did not answer",))
    assert not result.passed
    assert result.notes == ["process 3 did not answer"]


def test_too_many_excused_counters_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_swarm.audit.fault_log.COUNTER_RANGES_KEPT", 2)
    audit = ProcessAudit()
    for counter in (1, 2, 3, 4, 6, 8):
        audit.excuse_counter("hall", "ann", counter)
    assert not audit.final_report()["notes"]
    for counter in (10, 12):
        audit.excuse_counter("hall", "ann", counter)
    observe_messages(audit, (1, "ann", 11), (2, "ann", 13))
    result = merged_result(audit)
    assert not result.passed
    assert result.counts["lost"] == 0  # whether 12 was refused is unknown
    assert result.notes == ["more than 2 ranges of refused counters: lost messages of senders not checked"]


def test_too_many_skipped_counters_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_swarm.audit.fault_log.COUNTER_RANGES_KEPT", 2)
    audit = ProcessAudit()
    observe_messages(audit, *((seq, "ann", 2 * seq) for seq in range(1, 6)))
    result = merged_result(audit)
    assert not result.passed
    assert result.counts["lost"] == 0
    assert result.notes == ["more than 2 ranges of skipped counters: lost messages of senders not checked"]

"""The recorder names the slowest delivery, and notices when nothing arrives though messages are under way."""

import pytest

from chat_swarm.model.recorder import Recorder
from chat_swarm.model.schema import SlowDelivery

MS = 1_000_000
NOW_NS = 1_800_000_000 * 10**9
Deliveries = list[tuple[int, int]]
"""(sent, received), ms."""


def second(recorder: Recorder, deliveries: Deliveries) -> int | None:
    """Record deliveries, flush, and return the silence in ms."""
    for sent_ms, received_ms in deliveries:
        sent, received = NOW_NS + sent_ms * MS, NOW_NS + received_ms * MS
        recorder.received_ns.append(received)
        recorder.seen_ns.append(received)
        recorder.sent_ns.append(sent)
        recorder.planned_ns.append(sent)
    recorder.flush()
    return None if recorder.silence_us is None else recorder.silence_us // 1000


def steady(first_ms: int, last_ms: int) -> Deliveries:
    return [(at, at + 1) for at in range(first_ms, last_ms, 10)]


@pytest.mark.parametrize(
    ("deliveries", "silence"),
    [
        ([], None),
        (steady(0, 900), 0),
        ([(0, 1), (600, 601)], 0),  # nothing was under way
        ([(0, 1), (100, 700), (600, 701)], 0),  # one was, or two: that is not everybody
        ([*steady(0, 100), (100, 700), (200, 701), (300, 702), *steady(710, 900)], 609),
        ([*steady(0, 100), *[(100, at) for at in range(700, 720)], *steady(720, 900)], 0),  # of one message
    ],
    ids=["empty", "steady", "idle", "few", "standstill", "one message"],
)
def test_silence_is_found_if_several_messages_waited_for_its_end(
    deliveries: Deliveries, silence: int | None
) -> None:
    assert second(Recorder(), deliveries) == silence


def test_silence_may_begin_in_an_earlier_second() -> None:
    recorder = Recorder()
    assert second(recorder, steady(0, 500)) == 0
    assert second(recorder, []) is None
    assert second(recorder, [(800, 2600), (1200, 2601), (1900, 2602)]) == 2600 - 491


def test_slowest_delivery_is_of_its_second() -> None:
    recorder = Recorder()
    recorder.note_slowest(5 * MS, "ann", "hall", 7)
    second(recorder, [(0, 5)])
    assert recorder.slowest == SlowDelivery(us=5000, bot="ann", room="hall", seq=7)
    assert recorder.slowest_ns == 0
    recorder.flush()
    assert recorder.slowest is None

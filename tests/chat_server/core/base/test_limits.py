from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol import commands
from chat_protocol.errors import ErrorCode, Fault
from chat_server.core.base.limits import Limits
from chat_server.core.base.rate_limit import MAX_WAITING, Allowance, TokenBucket

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_token_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=10.0)
    assert [bucket.take_token(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take_token(10.5) == 0
    assert bucket.take_token(10.5) == 0.5
    assert [bucket.take_token(100.0) for _ in range(4)] == [
        0,
        0,
        0,
        0.5,
    ]  # no more than the burst is saved up


def test_token_bucket_charged_above_its_tokens_is_in_debt() -> None:
    bucket = TokenBucket(rate=100, burst=100, now=0.0)
    bucket.charge(300, 0.0)
    assert bucket.debt_seconds(0.0) == 2.0
    assert bucket.debt_seconds(1.5) == 0.5
    assert bucket.debt_seconds(2.0) == 0.0


@settings(deadline=None, max_examples=100)
@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(0, 100),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_token_bucket_never_exceeds_burst_and_rate(rate: float, burst: int, gaps: list[float]) -> None:
    now = 0.0
    bucket = TokenBucket(rate, burst, now)
    passed = 0
    for gap in gaps:
        now += gap
        wait = bucket.take_token(now)
        passed += not wait
        assert wait == 0 or bucket.take_token(now + wait * 1.001) == 0
        passed += bool(wait)
        now += wait * 1.001
        assert passed <= max(burst, 1) + now * rate + 0.01


def test_limit_of_zero_is_off() -> None:
    allowance = Allowance(Limits(rate_messages=0, rate_bytes=0), 0.0)
    assert allowance.messages is None
    assert allowance.bytes is None
    assert Allowance(Limits(rate_messages=1, rate_bytes=0), 0.0).messages is not None


def test_welcome_has_the_limits(stage: Stage) -> None:
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann"))
    assert ann.receive()[0]["limits"] == {
        "frame_bytes": 65536,
        "message_bytes": 8192,
        "rooms": 100,
        "conversations": 1000,
        "messages_per_second": 0,
        "message_burst": 1000,
        "bytes_per_second": 0,
        "byte_burst": 4 * 1024 * 1024,
    }


def test_refused_commands_get_times_one_after_the_other() -> None:
    allowance = Allowance(Limits(rate_messages=10, rate_messages_burst=5), 0.0)
    waits = [allowance.take(0.0, counted=True) for _ in range(10)]
    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5])


@settings(deadline=None, max_examples=50)
@given(
    in_flight=st.integers(1, 1023),
    rate=st.floats(1, 200),
    burst=st.integers(1, 1500),
    latency=st.floats(0, 0.05),
)
def test_client_that_waits_is_served_and_never_floods(
    in_flight: int, rate: float, burst: int, latency: float
) -> None:
    """A client as docs/protocol.md describes it: it sends again once `retry_after` has elapsed."""
    allowance = Allowance(Limits(rate_messages=rate, rate_messages_burst=burst), 0.0)
    messages = 3000
    new = iter(range(messages))
    arrivals = [(0.0, number) for number in itertools.islice(new, in_flight)]
    stored = refused = 0
    while arrivals:
        now, number = heapq.heappop(arrivals)
        wait = allowance.take(now, counted=True)
        if wait:
            refused += 1
            assert not allowance.is_flooding(now)
            heapq.heappush(arrivals, (now + math.ceil(wait * 100) / 100 + latency, number))
            continue
        stored += 1
        following = next(new, None)
        if following is not None:
            heapq.heappush(arrivals, (now + latency, following))
    assert stored == messages
    trips = (stored + refused) * (latency + 0.01) / in_flight  # for which nothing is under way
    assert now <= (messages - burst) / rate + trips + 60  # the rate is used
    assert refused <= 1.5 * messages


def test_client_that_does_not_wait_floods() -> None:
    allowance = Allowance(Limits(rate_messages=10, rate_messages_burst=5), 0.0)
    taken = 0
    while not allowance.is_flooding(0.0):
        allowance.take(0.0, counted=True)
        taken += 1
    assert taken == 5 + MAX_WAITING + 1
    assert not allowance.is_flooding(10.0)  # a hundred of them could have come again by now


def test_command_that_waited_is_accepted_whatever_its_bytes() -> None:
    allowance = Allowance(Limits(rate_messages=0, rate_bytes=10, rate_bytes_burst=10), 0.0)
    allowance.charge_bytes(30, 0.0)
    assert allowance.take(0.0, counted=True) == 2.0
    allowance.charge_bytes(1000, 1.9)  # it is in debt when it comes again: a frame of its own
    assert allowance.take(1.9, counted=True) > 90
    assert allowance.take(2.0, counted=True) == 0.0
    assert allowance.take(2.0, counted=True) > 90


def test_commands_that_waited_leave_no_debt_beyond_a_burst() -> None:
    allowance = Allowance(Limits(rate_messages=10, rate_messages_burst=100), 0.0)
    for _ in range(1000):
        allowance.take(0.0, counted=True)
    done = 0
    for step in range(1, 901):
        if not allowance.take(step / 10, counted=True):
            done += 1
            allowance.charge(15, step / 10)  # each costs sixteen
    assert done * 16 <= 900 + 100 + 100 + 16


def test_bytes_above_the_rate_are_left_unread_and_nothing_is_refused() -> None:
    allowance = Allowance(Limits(rate_bytes=1000, rate_bytes_burst=5000), 0.0)
    now = 0.0
    read = 0
    for _ in range(1000):
        unread = allowance.charge_bytes(100, now)
        read += 100
        assert allowance.take(now, counted=False) == 0
        assert unread == 0 or 0.5 < unread <= 0.6
        now += unread
    assert read <= 5000 + 1000 * (now + 0.6)


# At the router


def test_messages_above_the_rate_are_refused_until_retry_after(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=3, rate_messages_burst=5, rate_bytes=0))
    ann = stage.enter("ann")  # hello takes one
    for number in range(6):
        ann.send_message(str(number), ref=str(number))
    stage.commit()
    refused, *stored = ann.receive()  # refused at once, before the others are stored
    refusals = [refused, *(frame for frame in stored if frame["type"] == "error")]
    assert [(frame["code"], frame["ref"]) for frame in refusals] == [
        ("rate_limited", "4"),
        ("rate_limited", "5"),
    ]
    assert len(ann.messages()) == 4
    wait = refused["retry_after"]
    assert wait == pytest.approx(1 / 3, abs=0.01)
    stage.clock.advance(wait)  # not longer than it says
    ann.send_message("late", ref="5")
    stage.commit()
    assert ann.receive_one("message")["ref"] == "5"


def test_bytes_above_the_rate_are_refused_until_retry_after(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=1000, rate_bytes_burst=3000))
    ann = stage.enter("ann")
    ann.execute(commands.Message(message="x"), size=4500)
    error = ann.receive_one("error")
    assert (error["code"], error["retry_after"]) == ("rate_limited", 1.5)
    stage.clock.advance(1.5)
    ann.send_message()
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1


def test_uncounted_commands_above_the_message_rate_are_answered(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=1, rate_messages_burst=1, rate_bytes=0))
    ann = stage.enter("ann")
    ann.execute(commands.Who())
    assert ann.receive_one("error")["code"] == "rate_limited"
    ann.execute(commands.Ping(id="1"))
    assert ann.receive_one("pong")["id"] == "1"
    ann.execute(commands.Quit())
    assert ann.link.ended == "quit"


def test_limits_reloaded_apply_to_connected_sessions(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0))
    ann = stage.enter("ann")
    stage.hub.limits = msgspec.structs.replace(stage.hub.limits, rate_messages=1, rate_messages_burst=1)
    ann.send_message("one")
    ann.send_message("two")
    assert ann.receive_one("error")["code"] == "rate_limited"


def test_peer_ignoring_refusals_is_disconnected(stage: Stage) -> None:
    ann = stage.enter("ann")
    for _ in range(999):
        ann.send_message(room="nowhere")
    assert ann.link.ended is None
    ann.execute(commands.Who())  # one accepted command resets the count; a ping does not
    for _ in range(999):
        ann.execute(Fault(ErrorCode.BAD_FRAME, "no"))
    assert ann.link.ended is None
    ann.send_message(room="nowhere")
    assert ann.link.ended == "flooding"


def test_ping_above_the_byte_rate_is_refused(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=100, rate_bytes_burst=100))
    ann = stage.enter("ann")
    ann.receive()
    ann.execute(commands.Ping(ref="1"), size=300)
    assert ann.receive_one("error")["code"] == "rate_limited"
    stage.clock.advance(10)
    ann.execute(commands.Ping(ref="2"), size=10)
    assert ann.receive_one("pong")["ref"] == "2"

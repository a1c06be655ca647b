"""What a bot is shown is compared whole: with what the others are shown, and with what the sender sent."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from chat_protocol.commands import Message
from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import MessageEvent
from chat_swarm.bots.profiles import Chatter, Lurker
from chat_swarm.model.schema import AuditFault
from support.swarm.engine_harness import ScriptedServer, ServerConnection, SwarmHarness, echo, message_from
from support.swarm.scripted_pair import open_pair

HALL = "hall-0"
RECEIVERS = 4

Lie = Callable[[MessageEvent], bytes]


def with_field(**changed: Any) -> Lie:
    return lambda event: encode(msgspec.structs.replace(event, **changed))


def with_other_letter(event: MessageEvent) -> bytes:
    return encode(msgspec.structs.replace(event, message=event.message[:-3] + "#" + event.message[-2:]))


LIES: dict[str, Lie] = {
    "letter": with_other_letter,
    "header": lambda event: encode(event).replace(b"s1 ", b"s2 "),
    "counter": lambda event: encode(event).replace(b"s1 k7q 3 ", b"s1 k7q 7 "),
    "whole text": with_field(message="never said"),
    "from": with_field(sender="another"),
    "username": with_field(username="mallory"),
    "timestamp": with_field(timestamp=0.5),
    "origin": with_field(origin="server"),
    "ref": with_field(ref="77"),
    "unknown field": lambda event: encode(event).replace(b"}\n", b',"color":1}\n'),
    "spaces": lambda event: encode(event).replace(b'"seq":3', b'"seq": 3'),
}


@pytest.fixture
def swarm(scripted_server: ScriptedServer) -> Iterator[SwarmHarness]:
    one = SwarmHarness(scripted_server.port, resumable=True, message_rate=50.0)
    yield one
    one.process.close()


@pytest.fixture
def listeners(swarm: SwarmHarness, scripted_server: ScriptedServer) -> dict[str, ServerConnection]:
    """Bots in one room, by name, in the order in which they read."""
    swarm.start_bots(Lurker, RECEIVERS)
    found = [scripted_server.accept(swarm) for _ in range(RECEIVERS)]
    return {one.greet().username: one for one in found}


def deliveries(swarm: SwarmHarness, number: int) -> None:
    swarm.wait_until(lambda: swarm.count_of("delivered") >= number, f"{number} deliveries")


def mismatches(swarm: SwarmHarness) -> list[AuditFault]:
    """Return the faults, after checking that nothing else was found."""
    found = swarm.merged_audit()
    assert {kind for kind, count in found.counts.items() if count} <= {"mismatched"}
    assert found.counts["mismatched"] == len(found.faults)
    return found.faults


def test_equal_messages_are_no_fault(swarm: SwarmHarness, listeners: dict[str, ServerConnection]) -> None:
    log = [message_from(seq, "ann", seq) for seq in range(1, 6)]
    log.append(msgspec.structs.replace(log[-1], seq=6, message="of another program", username="someone"))
    for place, conn in enumerate(listeners.values()):
        conn.send(*log[: place + 1])  # in other pieces for each
        deliveries(swarm, place * 6 + place + 1)
        conn.send(*log[place + 1 :])
        deliveries(swarm, (place + 1) * 6)
    assert not mismatches(swarm)
    assert swarm.merged_audit().passed


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
@pytest.mark.parametrize("victim", [0, RECEIVERS - 1], ids=["first", "last"])
@pytest.mark.parametrize("lie", LIES)
def test_message_shown_differently_to_one_receiver_is_found_there(
    swarm: SwarmHarness, listeners: dict[str, ServerConnection], lie: str, victim: int, alone: bool
) -> None:
    # Given five messages, of which one receiver gets the third otherwise
    log = [message_from(seq, "ann", seq) for seq in range(1, 6)]
    shown = [*log[:2], None, *log[3:]]
    lied = LIES[lie](log[2])
    assert lied != encode(log[2])
    # When each reads them, one after another
    for place, conn in enumerate(listeners.values()):
        frames = (
            [encode(one) if one else lied for one in shown] if place == victim else list(map(encode, log))
        )
        for data in frames if alone else [b"".join(frames)]:
            conn.send_bytes(data)
            if alone:
                conn.wait_received()
                swarm.run_once()
        deliveries(swarm, (place + 1) * len(log))
    # Then the audit names it, the room and the seq
    [fault] = mismatches(swarm)
    name = list(listeners)[victim]
    assert (fault.room, fault.bot, fault.first, fault.last) == (HALL, name, 3, 3)
    assert fault.detail.startswith(f"{name} was shown ")
    assert (
        fault.detail.endswith(
            "3 others (the fields are the same)" if lie in {"unknown field", "spaces"} else "as 3 others"
        )
        or lie == "unknown field"
    )


def test_fault_says_what_differs(swarm: SwarmHarness, listeners: dict[str, ServerConnection]) -> None:
    plain = msgspec.structs.replace(message_from(1, "ann", 1), message="the quick brown fox", timestamp=2.5)
    first, *others = listeners.values()
    for conn in others:
        conn.send(plain)
    first.send(msgspec.structs.replace(plain, message="the quick green fox", timestamp=1.5))
    deliveries(swarm, RECEIVERS)
    [fault] = mismatches(swarm)
    assert "`message` 'the quick green fox' instead of 'the quick brown fox'" in fault.detail
    assert "`timestamp` 1.5 instead of 2.5" in fault.detail


def test_several_deceived_receivers_are_all_named(
    swarm: SwarmHarness, listeners: dict[str, ServerConnection]
) -> None:
    event = message_from(1, "ann", 1)
    first, second, *others = listeners.items()
    first[1].send(msgspec.structs.replace(event, timestamp=7.0))
    for _, conn in others:
        conn.send(event)
    deliveries(swarm, 3)
    second[1].send(msgspec.structs.replace(event, timestamp=8.0))
    deliveries(swarm, 4)
    [fault] = mismatches(swarm)
    assert fault.bot == f"{first[0]}, {second[0]}"
    assert "`timestamp` 7.0 instead of 0.0" in fault.detail
    assert "`timestamp` 8.0 instead of 0.0" in fault.detail


def test_resumed_bot_must_be_shown_what_the_others_were(
    swarm: SwarmHarness, scripted_server: ScriptedServer, listeners: dict[str, ServerConnection]
) -> None:
    # Given a bot that was away while the others got three messages
    (name, cut), *others = listeners.items()
    cut.close()
    log = [message_from(seq, "ann", seq) for seq in (1, 2, 3)]
    for _, conn in others:
        conn.send(*log)
    deliveries(swarm, 9)
    conn = scripted_server.accept(swarm)
    # When it is fed them otherwise
    conn.greet(resumed=True)
    conn.send(log[0], msgspec.structs.replace(log[1], timestamp=9.0), log[2])
    deliveries(swarm, 12)
    # Then that is found
    [fault] = mismatches(swarm)
    assert (fault.bot, fault.first) == (name, 2)


@pytest.mark.parametrize("changed", [{}, {"timestamp": 9.0}, {"message": "other"}, {"sender": "else"}])
def test_repeated_answer_must_be_the_original(
    swarm: SwarmHarness, scripted_server: ScriptedServer, changed: dict[str, Any]
) -> None:
    # Given a sender whose message the others got while it was away
    [sender] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    mine = conn.expect(Message)
    swarm.process.stop_sending()
    swarm.start_bots(Lurker, 2)
    for _ in range(2):
        other = scripted_server.accept(swarm)
        other.greet(echo(sender.name, mine, 1))
    deliveries(swarm, 2)
    # When it sends the message again, and is answered with the original event, or another
    event = msgspec.structs.replace(echo(sender.name, mine, 1, again=True), **changed)
    conn.send(event)
    swarm.wait_until(lambda: int(mine.ref or 0) not in sender.pending)
    # Then the fields are compared, not the bytes
    found = swarm.merged_audit()
    counts = {kind for kind, count in found.counts.items() if count} - {"lost", "unanswered"}
    altered = {"altered"} if changed.keys() & {"message", "sender"} else set()
    assert counts == ({"mismatched"} | altered if changed else set())
    assert all(
        sender.name in fault.bot and fault.first == 1 for fault in found.faults if fault.kind in counts
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"message": "s1 k7q 1 1 1 short"}, "another text"),
        ({"message": "no header"}, "another text"),
        ({"sender": "else"}, "as of 'else'"),
    ],
)
def test_message_changed_for_all_is_found_by_its_sender(
    swarm: SwarmHarness, scripted_server: ScriptedServer, changed: dict[str, Any], reason: str
) -> None:
    [sender] = swarm.start_bots(Chatter)
    [_] = swarm.start_bots(Lurker)
    conns = [scripted_server.accept(swarm) for _ in range(2)]
    for conn in conns:
        conn.greet()
    mine = conns[0].expect(Message)
    swarm.process.stop_sending()
    for conn in conns:
        conn.send(msgspec.structs.replace(echo(sender.name, mine, 1), **changed))
    deliveries(swarm, 2)
    found = swarm.merged_audit()
    assert (found.counts["altered"], found.counts["mismatched"]) == (1, 0)
    [fault] = [fault for fault in found.faults if fault.kind == "altered"]
    assert (fault.room, fault.bot, fault.first) == (HALL, sender.name, 1)
    assert reason in fault.detail
    assert swarm.count_of("acknowledged") == 1


@pytest.mark.parametrize("victim", [0, 1], ids=["sender", "partner"])
def test_of_two_receivers_the_senders_own_text_decides(
    swarm: SwarmHarness, scripted_server: ScriptedServer, victim: int
) -> None:
    conns, names, mine = open_pair(swarm, scripted_server)
    event = echo(names[0], mine, 1, room="@a,b")
    for place, conn in enumerate(conns):
        conn.send_bytes(with_other_letter(event) if place == victim else encode(event))
    deliveries(swarm, 2)
    found = swarm.merged_audit()
    [fault] = [fault for fault in found.faults if fault.kind == "mismatched"]
    assert (fault.room, fault.first) == ("@a,b", 1)
    if victim:
        assert fault.bot == names[1]
        assert found.counts["altered"] == 0
    else:  # it knows better, and nobody knows what the other should have been shown
        assert found.counts["altered"] == 1
        assert names[0] in fault.bot


def test_of_two_receivers_neither_is_blamed_where_the_sender_does_not_know(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    conns, names, mine = open_pair(swarm, scripted_server)
    event = echo(names[0], mine, 1, room="@a,b")
    conns[0].send(event)
    conns[1].send(msgspec.structs.replace(event, timestamp=3.0))
    deliveries(swarm, 2)
    found = swarm.merged_audit()
    [fault] = [fault for fault in found.faults if fault.kind == "mismatched"]
    assert all(name in fault.bot for name in names)
    assert "which of them is right is unknown" in fault.detail


def test_message_of_a_room_that_a_bot_is_not_in_is_a_fault(
    swarm: SwarmHarness, listeners: dict[str, ServerConnection]
) -> None:
    # Given a message that one of them is shown as one of another room
    log = [message_from(seq, "ann", seq) for seq in (1, 2, 3)]
    (name, first), *others = listeners.items()
    first.send(log[0], msgspec.structs.replace(log[1], room="den"), log[2])
    for _, conn in others:
        conn.send(*log)
    deliveries(swarm, 11)
    # Then it is found, as is its absence from the right room; and the other room has no message by it
    found = swarm.merged_audit()
    assert {kind: count for kind, count in found.counts.items() if count} == {"stray": 1, "lost": 1}
    assert {(fault.kind, fault.room, fault.bot, fault.first) for fault in found.faults} == {
        ("stray", "den", name, 2),
        ("lost", HALL, name, 2),
    }
    assert found.rooms == 1


def test_bot_that_has_not_read_what_arrived_has_lost_nothing(
    swarm: SwarmHarness, listeners: dict[str, ServerConnection]
) -> None:
    # Given a bot that does not read what its kernel has
    event = message_from(1, "ann", 1)
    late, *others = listeners.items()
    name, conn = late
    for _, other in others:
        other.send(event)
    deliveries(swarm, RECEIVERS - 1)
    bot = next(one for one in swarm.process.bots if one.name == name)
    assert isinstance(bot, Lurker)
    assert bot.connection is not None
    bot.connection.pause_reading()
    conn.send(event)
    conn.wait_received()
    # Then the audit is incomplete because of the bot, and not for a loss
    found = swarm.merged_audit()
    assert not any(found.counts.values())
    assert not found.passed
    assert any("1 bots had not read all that had arrived" in note for note in found.notes)


def test_bot_that_was_sent_nothing_more_has_lost_it(
    swarm: SwarmHarness, listeners: dict[str, ServerConnection]
) -> None:
    _, *others = listeners.values()
    for other in others:
        other.send(message_from(1, "ann", 1))
    deliveries(swarm, RECEIVERS - 1)
    found = swarm.merged_audit()
    assert found.counts["lost"] == 1
    assert not found.notes

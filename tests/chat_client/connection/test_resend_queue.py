"""The resend queue: order, rate limits, later commands behind it."""

from typing import Any

from chat_client.connection.pending import PendingCommands
from chat_client.connection.resend_queue import ResendQueue
from chat_protocol.commands import Command, Message, Ping
from chat_protocol.events import Limits

SLOW = Limits(65536, 8192, 0, 0, messages_per_second=0.001, message_burst=5, bytes_per_second=0, byte_burst=0)
"""Four messages may be sent at once, the fifth after a quarter of an hour."""


class RecordingLink:
    """Records the commands that are sent."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.send = self.sent.append


def pending_messages(count: int) -> tuple[PendingCommands, list[Message]]:
    calls = PendingCommands()
    messages = [Message(message=str(number), ref=calls.new_ref()) for number in range(count)]
    for message in messages:
        calls.expect_acknowledgement(message, None)
    return calls, messages


def test_resend_queue_above_the_rate_waits_and_keeps_the_order() -> None:
    wire: Any = RecordingLink()
    calls, messages = pending_messages(6)
    again = ResendQueue(wire, calls, SLOW)
    again.send_unacknowledged()
    again.send(Ping(id="behind"))
    again.send(messages[5])  # is queued already
    assert wire.sent == messages[:4]
    again._send_next()  # its wait is over
    assert wire.sent == messages[:5]
    again.cancel()
    again._send_next()
    assert wire.sent == messages[:5]


def test_resend_queue_resends_unavailable_messages_with_their_ref() -> None:
    wire: Any = RecordingLink()
    calls, messages = pending_messages(3)
    again = ResendQueue(wire, calls, SLOW)
    for message in (messages[2], messages[0]):
        again.retry_unavailable(message.ref, 3600)
    again.retry_unavailable("nobody's", 3600)
    again.retry_unavailable(None, 3600)
    assert not wire.sent
    again._send_unavailable()
    assert wire.sent == [messages[0], messages[2]]
    again._send_unavailable()
    assert len(wire.sent) == 2
    again.cancel()


def test_resend_queue_when_empty_sends_at_once() -> None:
    wire: Any = RecordingLink()
    again = ResendQueue(wire, PendingCommands(), SLOW)
    again.send_unacknowledged()
    commands = [Ping(id=number) for number in range(20)]
    for command in commands:
        again.send(command)
    assert wire.sent == commands

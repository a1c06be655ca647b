"""Plain text: bytes in, commands and faults out; output cannot forge a line."""

from chat_protocol import commands, names
from chat_protocol.dialects import plain_text
from chat_protocol.dialects.base import Incoming
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, HistoryPage, MessageEvent, Notice
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import text_problem
from fuzz import incoming
from fuzz.cuts import same_for_all_cuts
from fuzz.lines_shown import one_line_each


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> list[Incoming]:
        return incoming.feed_codec(plain_text.PlainTextCodec(), pieces)

    with incoming.short_frames():
        found = same_for_all_cuts(data, feed)
    incoming.check_items(found)
    for item in found:
        if isinstance(item, commands.Message):
            assert "\n" not in item.message
            _shown(item.message, _peer(item.to))
    _shown(data.decode(errors="replace"), None)


def _peer(to: str | None) -> str | None:
    """Return the peer's name if it is valid, as only valid names become part of a room's name."""
    try:
        return names.validate_name(to or "")
    except ValueError:
        return None


def _shown(said: str, to: str | None) -> None:
    message = MessageEvent(
        room=f"@ann,{to}" if to else "lobby",
        seq=1,
        sender="id",
        username="ann",
        message=said,
        timestamp=50_000.0,
        origin="client",
    )
    head = f"[13:53] (private {message.room}) ann: " if to else "[13:53] "
    (own,) = one_line_each(plain_text.encode(message), 1)
    assert own.startswith(head)
    assert text_problem(said) or len(plain_text.encode(message)) <= MAX_FRAME_BYTES
    one_line_each(plain_text.encode_messages([message, message]), 2)
    one_line_each(plain_text.encode(HistoryPage(room="lobby", messages=[message] * 3, more=False)), 3)
    (own,) = one_line_each(plain_text.encode(Error(code=ErrorCode.FORBIDDEN, message=said)), 1)
    assert own.startswith("* ")
    for own in one_line_each(plain_text.encode(Notice(text=said)), len(said.splitlines())):
        assert own.startswith("* ")

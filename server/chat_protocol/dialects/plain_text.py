r"""Plain text, for `nc` and telnet: a line is a message, `/word` is a command.

The server writes messages as `[14:03] ann: hi` (UTC) and all other events as `* sentence`. Continuation lines
are indented and control characters replaced, so a message cannot forge a line of the server or of a user.
"""

import functools
import re
from collections.abc import Sequence
from typing import Final

from chat_protocol import commands, sentences
from chat_protocol.dialects.base import Codec, Encoding, Incoming
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Event, HistoryPage, MessageEvent
from chat_protocol.framing.lines import LineBuffer

HELP: Final = (
    "/nick NAME  take a name     /join ROOM  go to another room\n"
    "/who  list the users        /rooms  list the rooms\n"
    "/msg NAME text  send to one user only       //text  send a line that begins with /\n"
    "bye or quit  leave"
)
GREETING: Final = "Greenroom: type a line to say it in the lobby, /help for more, bye to leave"

_CONTINUATION: Final = "\n    "  # short: 8,192 line breaks must fit a frame of 65,536 bytes
# Everything that a terminal or `str.splitlines` may treat as a line end.
_LINE_BREAK = re.compile("\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Telnet negotiation (RFC 854): IAC, a command, and for WILL to DONT an option; or a subnegotiation.
_TELNET_COMMAND = re.compile(rb"\xff(?:[\xfb-\xfe].?|\xfa[^\xff]*\xff\xf0|[\xf0-\xfa])")


def encode(event: Event) -> bytes:
    """Return the event as lines of UTF-8 text."""
    if isinstance(event, MessageEvent):
        return _message_line(event).encode()
    if isinstance(event, HistoryPage):
        return encode_messages(event.messages)
    return "".join(f"* {_sanitize(sentence)}\n" for sentence in sentences.event_sentences(event)).encode()


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk, a line each and indented lines where one has line breaks."""
    return "".join(map(_message_line, events)).encode()


def decode_line(line: bytes) -> Incoming | None:
    """Return the command on `line` (without its newline), or a fault; None for a blank line."""
    try:
        text = strip_telnet(line).decode()
    except UnicodeDecodeError:
        return Fault(ErrorCode.BAD_FRAME, "the line is not UTF-8")
    if not text.strip():
        return None
    if text.strip() in {"bye", "quit"}:
        return commands.Quit()
    if not text.startswith("/"):
        return commands.Message(message=text)
    if text.startswith("//"):
        return commands.Message(message=text[1:])
    word, _, rest = text[1:].partition(" ")
    return _parse_command(word.lower(), rest.strip())


def strip_telnet(line: bytes) -> bytes:
    """Return `line` without telnet negotiation (RFC 854)."""
    return _TELNET_COMMAND.sub(b"", line) if b"\xff" in line else line


PLAIN_TEXT: Final = Encoding("text", encode, encode_messages)


class PlainTextCodec(Codec):
    """The server's codec of plain text."""

    __slots__ = ("_lines", "_overflow_reported")

    encoding = PLAIN_TEXT

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._overflow_reported = False  # whether FRAME_TOO_LARGE has been returned

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes."""
        found = [command for line in self._lines.feed(data) if (command := decode_line(line)) is not None]
        if self._lines.overflowed and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the command on a last line without newline."""
        command = decode_line(self._lines.take_unfinished())
        return [] if command is None else [command]


def _message_line(event: MessageEvent) -> str:
    """Return one message as a line; those of a conversation are marked `(private ROOM)`."""
    clock = _clock(event.timestamp // 60)
    text = _sanitize(event.message)
    if event.room[:1] == "@":
        return f"[{clock}] (private {event.room}) {event.username}: {text}\n"
    return f"[{clock}] {event.username}: {text}\n"


@functools.lru_cache(maxsize=64)
def _clock(minutes: float) -> str:
    """Return HH:MM of `minutes` since the Unix epoch, UTC; cached, as the messages of a batch share it."""
    return f"{int(minutes) // 60 % 24:02}:{int(minutes) % 60:02}"


def _sanitize(text: str) -> str:
    """Indent the continuation lines of `text`, and replace control characters by U+FFFD."""
    return text if text.isprintable() else _CONTROL.sub("\ufffd", _LINE_BREAK.sub(_CONTINUATION, text))


def _parse_command(word: str, rest: str) -> Incoming:
    match word:
        case "nick" if rest:
            return commands.Rename(username=rest)
        case "join" if rest:
            return commands.Switch(room=rest)
        case "msg" if " " in rest:
            name, _, text = rest.partition(" ")
            return commands.Message(message=text.strip(), to=name)
        case "who":
            return commands.Who()
        case "rooms":
            return commands.Rooms()
        case "help":
            return commands.Help()
        case "bye" | "quit":
            return commands.Quit()
        case "nick" | "join" | "msg":
            usage = {"nick": "/nick NAME", "join": "/join ROOM", "msg": "/msg NAME text"}[word]
            return Fault(ErrorCode.INVALID_FIELD, f"usage: {usage}")
        case _:
            return Fault(ErrorCode.UNKNOWN_TYPE, f"no command /{word[:32]}; /help lists the commands")

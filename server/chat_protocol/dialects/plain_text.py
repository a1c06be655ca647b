r"""Plain text, for `nc` and telnet: a line is a message, `/word` is a command.

The server writes messages as `[14:03] ann: hi` (UTC) and all other events as `* sentence`. Continuation lines
are indented, and control, invisible and turning characters replaced, so a message cannot forge a line of the
server or of a user. Blanks before a command make no message of it: what it says may be private.
"""

import functools
import re
from collections.abc import Sequence
from typing import Final

from chat_protocol import commands, sentences
from chat_protocol.characters import BLANK, describe_char, replace_unsafe
from chat_protocol.dialects.base import Codec, Encoding, Incoming
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Event, HistoryPage, MessageEvent
from chat_protocol.framing.lines import LineBuffer
from chat_protocol.framing.telnet import TelnetFilter, apply_erasures
from chat_protocol.message_text import BYTE_ORDER_MARK, decode_text

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
_BLANKS = re.compile(r"\s+")
_OTHER_SLASHES: Final = frozenset("\uff0f\u2044\u2215")  # full-width, fraction, division: of input methods
_USAGE: Final = {
    "nick": "/nick NAME",
    "join": "/join ROOM",
    "msg": "/msg NAME text",
    "who": "/who",
    "rooms": "/rooms",
    "help": "/help",
    "bye": "/bye",
    "quit": "/quit",
}


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
    """Return the command on `line`, or a fault; None if it is blank.

    `line` comes from the telnet filter, and is without its newline.
    """
    try:
        text = decode_text(apply_erasures(line)).removeprefix(BYTE_ORDER_MARK)  # the line may begin a file
    except ValueError as error:
        return Fault(ErrorCode.BAD_FRAME, str(error))
    start = _blank_end(text, 0)
    if start == len(text):
        return None
    first, rest = text[start], text[start + 1 :]
    if first == "/":
        return commands.Message(message=rest) if rest.startswith("/") else _parse_command(rest)
    for word in ("bye", "quit"):
        if text.startswith(word, start) and _blank_end(text, start + len(word)) == len(text):
            return commands.Quit()
    if first in _OTHER_SLASHES and _split_word(rest)[0] in _USAGE:
        return Fault(
            ErrorCode.INVALID_FIELD,
            f"not sent: a command begins with '/' (U+002F), not {describe_char(first)}",
        )
    return commands.Message(message=text)


def _blank_end(text: str, at: int) -> int:
    """Return where the white space and invisible characters from `at` on end."""
    blank = BLANK.match(text, at)
    return blank.end() if blank else at


PLAIN_TEXT: Final = Encoding("text", encode, encode_messages)


class PlainTextCodec(Codec):
    """The server's codec of plain text. `telnet`: the filter of the connection so far."""

    __slots__ = ("_lines", "_overflow_reported", "_telnet", "has_output")

    encoding = PLAIN_TEXT

    def __init__(self, telnet: TelnetFilter | None = None) -> None:
        self._lines = LineBuffer()
        self._telnet = telnet or TelnetFilter()
        self._overflow_reported = False  # whether FRAME_TOO_LARGE has been returned
        self.has_output = False

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes."""
        return self.receive_text(self._telnet.feed(data))

    def receive_text(self, text: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `text`, which the filter has returned, completes."""
        self.has_output = self._telnet.has_output
        found = [command for line in self._lines.feed(text) if (command := decode_line(line)) is not None]
        if (self._lines.overflowed or self._telnet.overflowed) and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the command on a last line without newline."""
        command = decode_line(self._lines.take_unfinished())
        return [] if command is None else [command]

    def output(self) -> bytes:
        """Return, once, the answers to telnet commands."""
        self.has_output = False
        return self._telnet.take_output()


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
    """Indent the continuation lines of `text`, and replace what acts on a terminal or is invisible."""
    if text.isascii() and text.isprintable():
        return text
    return replace_unsafe(_LINE_BREAK.sub(_CONTINUATION, text))


def _parse_command(line: str) -> Incoming:
    """Return the command in `line`, which follows the slash; blanks of any kind separate its words."""
    word, rest = _split_word(line)
    match word, rest.split(maxsplit=1):
        case "nick", [_, *_]:
            return commands.Rename(username=rest)
        case "join", [_, *_]:
            return commands.Switch(room=rest)
        case "msg", [name, text]:
            return commands.Message(message=text, to=name)
        case "who", _:
            return commands.Who()
        case "rooms", _:
            return commands.Rooms()
        case "help", _:
            return commands.Help()
        case "bye" | "quit", _:
            return commands.Quit()
    if word in _USAGE:
        return Fault(ErrorCode.INVALID_FIELD, f"usage: {_USAGE[word]}")
    return Fault(ErrorCode.UNKNOWN_TYPE, f"no command /{word[:32]}; /help lists the commands")


def _split_word(line: str) -> tuple[str, str]:
    """Return the first word of `line` in lower case, empty if a blank comes before it, and the rest."""
    word, _, rest = _BLANKS.sub(" ", line, count=1).partition(" ")
    return word.lower(), rest.strip()

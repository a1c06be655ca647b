r"""Telnet's part of a text stream (RFC 854): commands are taken out and answered, line ends become `\n`.

Every option is refused: DO is answered by WONT, WILL by DONT, and WONT and DONT, which ask for nothing, by
nothing, so two programs cannot go on answering each other (RFC 1143). DO TIMING-MARK, by which a client finds
out that its interrupt has arrived, may be refused as well (RFC 860).

The text keeps three sequences, which act on its line: erase character, erase line, and a data byte 255 as
IAC IAC. `apply_erasures` resolves them when the line is complete.
"""

import re
from typing import Final

from chat_protocol.framing.lines import MAX_FRAME_BYTES

IAC: Final = 0xFF
ALIVE: Final = b"* the server is here\n"
"""The answer to AYT (are you there)."""

_IAC, _AYT, _SB = b"\xff", b"\xf6", b"\xfa"
_ERASURES = b"\xf7\xf8"  # EC, EL
_NEGOTIATION_VERBS = b"\xfb\xfc\xfd\xfe"  # WILL, WONT, DO, DONT
_REQUEST_VERBS = b"\xfb\xfd"
_REFUSALS = bytes.maketrans(_REQUEST_VERBS, b"\xfe\xfc")
_FIRST_COMMAND = b"\xec"  # xEOF (RFC 1184); below it, a byte after IAC is no command
DATA_255 = b"\xff\xff"

# What is whole in a read is taken by these, as a flood of commands would take a step of Python for each byte:
# what stays in the text; negotiation, other commands, and short subnegotiation.
_KEPT = rb"\xff[\xf7\xf8\xff]"
_TAKEN = rb"\xff(?:[\xfb-\xfe].|[\xec-\xf6\xf9]|\xfa[^\xff]{0,200}\xff\xf0)"
_WHOLE_COMMANDS = re.compile(rb"(?:%b|%b)*" % (_KEPT, _TAKEN), re.DOTALL)
_WHOLE = re.compile(rb"(?:[^\xff]+|%b|%b)*" % (_KEPT, _TAKEN), re.DOTALL)
_TEXT_AND_KEPT = re.compile(rb"(%b)|%b" % (_KEPT, _TAKEN), re.DOTALL)
_REQUESTS = re.compile(rb"\xff(?:([\xfb\xfd].|\xf6)|[\xfc\xfe].|.)", re.DOTALL)

_LINE_END = re.compile(rb"\r[\n\x00]?")  # RFC 854 has CR LF and CR NUL; terminals send CR alone
_PIECE = re.compile(rb"\xff([\xf7\xf8\xff]?)|[^\xff]+")

# States between bytes: in text, after IAC, after WILL to DONT, inside a subnegotiation, after IAC there.
_TEXT, _COMMAND, _OPTION, _SUBNEGOTIATION, _SUBNEGOTIATION_IAC = range(5)


class TelnetFilter:
    """Takes telnet commands out of a stream, whose pieces may end anywhere.

    A subnegotiation of more than `limit` bytes sets `overflowed`; nothing after it is returned.
    """

    __slots__ = (
        "_after_cr",
        "_answers",
        "_asked_alive",
        "_skipped",
        "_state",
        "_verb",
        "limit",
        "overflowed",
    )

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self.limit = limit
        self.overflowed = False
        self._state = _TEXT
        self._verb = b""
        self._skipped = 0  # bytes of the subnegotiation so far
        self._after_cr = False  # whether the last byte of text was a CR, which a LF or NUL may follow
        self._answers = bytearray()
        self._asked_alive = False

    @property
    def in_command(self) -> bool:
        """Whether the next byte belongs to a command."""
        return self._state != _TEXT

    @property
    def has_output(self) -> bool:
        """Whether there are answers to send."""
        return bool(self._answers) or self._asked_alive

    def take_output(self) -> bytes:
        """Return the answers, once: at most as long as the requests, and one line however often AYT came."""
        answers = bytes(self._answers) + (ALIVE if self._asked_alive else b"")
        self._answers.clear()
        self._asked_alive = False
        return answers

    def feed(self, data: bytes) -> bytes:
        r"""Return the text in `data`; its lines end in `\n`."""
        if self._state == _TEXT and _IAC not in data:
            return self._unify_line_ends(data)
        kept: list[bytes] = []
        at = 0
        while at < len(data) and not self.overflowed:
            if self._state == _TEXT:
                at = self._take_whole(_WHOLE, data, at, kept)
            else:
                at = self._take_byte(data, at, kept)
        return b"".join(kept)

    def skip_commands(self, data: bytes, at: int, kept: list[bytes]) -> int:
        """Take the commands at `at`; return where text follows. Adds to `kept` what stays in the text."""
        while at < len(data) and not self.overflowed:
            if self._state != _TEXT:
                at = self._take_byte(data, at, kept)
            elif data[at] == IAC:
                at = self._take_whole(_WHOLE_COMMANDS, data, at, kept)
            else:
                break
        return at

    def _take_whole(self, pattern: re.Pattern[bytes], data: bytes, at: int, kept: list[bytes]) -> int:
        """Take all that is whole from `at` on, and the IAC behind it; return where to go on."""
        found = pattern.match(data, at)
        assert found is not None
        part, end = found[0], found.end()
        if _IAC in part:
            self._answer(_REQUESTS.findall(part))
            part = _TEXT_AND_KEPT.sub(rb"\1", part)
        if part:
            kept.append(self._unify_line_ends(part))
        if end < len(data) and data[end] == IAC:
            self._state = _COMMAND
            end += 1
        return end

    def _take_byte(self, data: bytes, at: int, kept: list[bytes]) -> int:
        """Go on in the middle of a command; return where the next byte is."""
        byte, state = data[at : at + 1], self._state
        if state == _OPTION:
            self._state = _TEXT
            self._answer([self._verb + byte] if self._verb in _REQUEST_VERBS else [])
        elif state == _SUBNEGOTIATION:
            end = data.find(_IAC, at)
            size = (len(data) if end < 0 else end + 1) - at
            self._skipped += size
            self.overflowed = self._skipped > self.limit
            self._state = state if end < 0 else _SUBNEGOTIATION_IAC
            return at + size
        elif byte < _FIRST_COMMAND or byte == _IAC:
            if state == _SUBNEGOTIATION_IAC:  # a doubled 255, or no command
                self._state = _SUBNEGOTIATION
            else:
                self._state = _TEXT
                kept.append(self._unify_line_ends(DATA_255))
                return at + (byte == _IAC)  # what is no command is text behind a byte that is not UTF-8
        else:  # within a subnegotiation, too: then its end has been lost
            self._begin_command(byte, kept)
        return at + 1

    def _begin_command(self, byte: bytes, kept: list[bytes]) -> None:
        self._state = _TEXT
        if byte in _NEGOTIATION_VERBS:
            self._verb = byte
            self._state = _OPTION
        elif byte == _SB:
            self._skipped = 0
            self._state = _SUBNEGOTIATION
        elif byte == _AYT:
            self._answer([byte])
        elif byte in _ERASURES:
            kept.append(self._unify_line_ends(_IAC + byte))

    def _answer(self, requests: list[bytes]) -> None:
        """Refuse each DO or WILL with its option; those that are empty are no requests."""
        if _AYT in requests:
            self._asked_alive = True
            requests = [one for one in requests if one != _AYT]
        pairs = b"".join(requests)
        refused = bytearray(_IAC * (len(pairs) // 2 * 3))
        refused[1::3] = pairs[::2].translate(_REFUSALS)
        refused[2::3] = pairs[1::2]
        self._answers += refused

    def _unify_line_ends(self, text: bytes) -> bytes:
        if self._after_cr and text.startswith((b"\n", b"\x00")):
            text = text[1:]
            self._after_cr = False
        if text:
            self._after_cr = text.endswith(b"\r")
        return _LINE_END.sub(b"\n", text) if b"\r" in text else text


def apply_erasures(line: bytes) -> bytes:
    """Return a complete line from `TelnetFilter`, after its erasures, with each data byte 255 as one."""
    if _IAC not in line:
        return line
    text = bytearray()
    for piece in _PIECE.finditer(line):
        if piece[1] is None:
            text += piece[0]
        elif piece[1] == _ERASURES[1:]:
            text.clear()
        elif piece[1] == _ERASURES[:1]:
            while text and text[-1] & 0xC0 == 0x80:  # continuation bytes of UTF-8
                text.pop()
            if text:
                text.pop()
        else:
            text += _IAC
    return bytes(text)

"""Cuts a byte stream into JSON objects by their braces, with or without newlines; each byte is scanned once.

Only braces and strings are looked at: a piece need not be valid JSON.
"""

import re
from typing import NamedTuple

from chat_protocol.framing.lines import MAX_FRAME_BYTES

# What is skipped in one step. A backslash escapes the byte after it, but not a raw newline, which breaks the
# string. Atomic: what was skipped is not tried again (and again, for each string). A possessive group would
# do the same, but Python before 3.11.5 is wrong about where its match ends.
_IN_STRING = rb'[^"\\\n]*+(?>(?:\\[^\n][^"\\\n]*+)*)'
_STRING = rb'"' + _IN_STRING + rb'"'
_FLAT_OBJECT = rb'\{[^"{}]*+(?>(?:' + _STRING + rb'[^"{}]*+)*)\}'
_INSIDE_STRING = re.compile(_IN_STRING)
_INSIDE_OBJECT = re.compile(rb'[^"{}]*+(?>(?:(?:' + _STRING + rb"|" + _FLAT_OBJECT + rb')[^"{}]*+)*)')
# Between objects: white space, commas, the NULs of padded buffers, the RS of JSON text sequences (RFC 7464),
# and the byte order mark of each of several files.
_SEPARATORS = re.compile(rb"(?:[\s,\x00\x1e]|\xef\xbb\xbf)*")
_PARTIAL_MARK = re.compile(rb"\xef\xbb?")


class Piece(NamedTuple):
    """An object (`balanced`) or junk, and the offsets in the stream where it begins and ends."""

    text: bytes
    balanced: bool
    start: int
    end: int


class ObjectSplitter:
    """Splits off whole objects. An object that is broken inside a string is junk, up to the newline there.

    Other bytes between objects are junk up to a newline, too; with `stop_at_junk`, the first of them is a
    piece by itself and the last one: it sets `stopped`, and nothing after it is returned.
    """

    __slots__ = (
        "_buffer",
        "_buffer_start",
        "_depth",
        "_in_junk",
        "_in_string",
        "_scanned",
        "limit",
        "overflowed",
        "stop_at_junk",
        "stopped",
    )

    def __init__(self, limit: int = MAX_FRAME_BYTES, *, stop_at_junk: bool = False) -> None:
        self._buffer = bytearray()
        self._buffer_start = 0  # bytes of the stream before `_buffer`
        self._scanned = 0  # bytes of `_buffer` that have been scanned
        self._depth = 0
        self._in_string = False
        self._in_junk = False
        self.limit = limit
        self.overflowed = False
        self.stop_at_junk = stop_at_junk
        self.stopped = False

    def feed(self, data: bytes) -> list[Piece]:
        """Return the objects and junk that `data` completes, in order; above `limit`, sets `overflowed`."""
        found: list[Piece] = []
        if self.overflowed or self.stopped:
            return found
        held = self._buffer
        held += data
        start = 0
        at = self._scanned
        while True:
            if self._in_junk:
                newline = held.find(b"\n", at)
                if newline < 0:
                    at = len(held)
                    break
                found.append(self._piece(start, newline, balanced=False))
                self._in_junk = False
                start = at = newline + 1
            if not self._depth:
                between = _SEPARATORS.match(held, at)
                start = at = between.end() if between else at
                if at == len(held) or _PARTIAL_MARK.fullmatch(held, at):
                    break
                if held[at] != ord("{"):
                    if self.stop_at_junk:
                        found.append(self._piece(at, at + 1, balanced=False))
                        self.stopped = True
                        start = at = len(held)
                        break
                    self._in_junk = True
                    continue
            at, whole = self._scan_object(held, at)
            if self._in_junk:
                self._depth, self._in_string = 0, False
                continue
            if not whole:
                break
            found.append(self._piece(start, at, balanced=True))
            start = at
        del held[:start]
        self._buffer_start += start
        self._scanned = at - start
        self.overflowed = len(held) > self.limit
        for index, piece in enumerate(found):
            if len(piece.text) > self.limit:
                self.overflowed, self.stopped = True, False
                return found[:index]
        return found

    def peek_unfinished(self) -> bytes:
        """Return the bytes of the unfinished object or junk."""
        return bytes(self._buffer)

    def take_unfinished(self) -> list[Piece]:
        """Return and clear the unfinished object, as junk, for the end of input."""
        rest = bytes(self._buffer).strip()
        self._buffer.clear()
        return (
            [Piece(rest, False, self._buffer_start, self._buffer_start + len(rest))]
            if rest and not self.overflowed
            else []
        )

    def _piece(self, start: int, end: int, *, balanced: bool) -> Piece:
        return Piece(
            bytes(self._buffer[start:end]), balanced, self._buffer_start + start, self._buffer_start + end
        )

    def _scan_object(self, held: bytearray, at: int) -> tuple[int, bool]:
        """Scan from `at` to where the object ends, breaks (`_in_junk` is set) or needs more bytes.

        Returns the offset, and whether the object ended there.
        """
        end = len(held)
        if not self._depth:  # it begins here
            self._depth = 1
            at += 1
        while True:
            skipped = _INSIDE_STRING if self._in_string else _INSIDE_OBJECT
            found = skipped.match(held, at)
            assert found is not None  # it may be empty
            at = found.end()
            if at == end:
                return end, False
            match held[at]:
                case 0x5C:  # a backslash without the byte that it escapes
                    if at + 1 == end:
                        return at, False
                    at += 1
                case 0x0A:  # JSON strings contain no raw newline: this one was never closed
                    self._in_junk = True
                    return at, False
                case 0x22:
                    self._in_string = not self._in_string
                    at += 1
                case 0x7B:
                    self._depth += 1
                    at += 1
                case _:
                    self._depth -= 1
                    at += 1
                    if not self._depth:
                        return at, True

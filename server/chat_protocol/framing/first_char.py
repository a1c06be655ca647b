"""Finds the first character of a connection, after blanks, byte order marks and telnet commands."""

import re
from typing import Final

from chat_protocol.framing.telnet import TelnetFilter

# Blank lines come first in a web request (RFC 9112, 2.2) and in the binary PROXY header; the NULs of a padded
# buffer and the RS of a JSON text sequence (RFC 7464) may come before an object.
_SKIPPED: Final = re.compile(rb"(?:[ \t\r\n\x00\x1e]|\xef\xbb\xbf)*")
_ERASURES: Final = re.compile(rb"(?:\xff[\xf7\xf8])*(.*)", re.DOTALL)  # with nothing before them to erase
_PARTIAL_MARK: Final = re.compile(rb"\xef\xbb?")
_JSON_ONLY: Final = re.compile(rb"(?<!\r)\x00|\x1e")  # a NUL after CR is a line end of telnet


class FirstCharFinder:
    """Takes the leading bytes of a stream, whose pieces may end anywhere.

    `telnet` takes the commands among them. `json_only` says that bytes were skipped with which no text
    begins; more leading bytes than a line may have then set `overflowed`.
    """

    __slots__ = ("_after_cr", "_partial_mark", "_size", "json_only", "overflowed", "telnet")

    def __init__(self, telnet: TelnetFilter) -> None:
        self.telnet = telnet
        self.json_only = False
        self.overflowed = False
        self._partial_mark = b""  # a byte order mark that is not complete
        self._after_cr = False
        self._size = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return text that the telnet filter has returned, and the bytes that follow; both empty: not found.

        That text begins with the data byte 255, which telnet escapes.
        """
        data = self._partial_mark + data
        self._partial_mark = b""
        at = 0
        while at < len(data) and not self.overflowed and not self.telnet.overflowed:
            kept: list[bytes] = []
            begun = at
            at = self.telnet.skip_commands(data, at, kept)
            erasures = _ERASURES.match(b"".join(kept))
            if erasures is not None and erasures[1]:
                return erasures[1], data[at:]
            at = self._skip(data, at)
            if at == begun:
                if _PARTIAL_MARK.fullmatch(data, at):
                    self._partial_mark = data[at:]
                    return b"", b""
                return b"", data[at:]
        return b"", b""

    def take_unfinished(self) -> bytes:
        """Return and clear a byte order mark that is not complete, at the end of input."""
        rest, self._partial_mark = self._partial_mark, b""
        return rest

    def _skip(self, data: bytes, at: int) -> int:
        if self.telnet.in_command:
            return at
        found = _SKIPPED.match(data, at)
        end = found.end() if found else at
        if end > at:
            run = b"\r" * self._after_cr + data[at:end]
            self.json_only = self.json_only or _JSON_ONLY.search(run) is not None
            self._after_cr = run.endswith(b"\r")
            self._size += end - at
            self.overflowed = self.json_only and self._size > self.telnet.limit
        return end

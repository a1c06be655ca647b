"""Generates millions of log lines from a real log: with other times, counters, names and sessions.

The template's lines are repeated in order; each round is shifted in time and has its own session ids and
users, so that nothing repeats that would not repeat on a real server.
Run it: `python -m support.log_files.log_lines TEMPLATE OUT LINES`.
"""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

_VARIED_FIELDS: Final = re.compile(
    rb'"(ts|session_id|username|address|messages_in|messages_out|bytes_in|bytes_out|seq)":("[^"]*"|\d+)'
)
_ALPHABET: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"


class Template:
    """Real log lines, split at the varied fields."""

    def __init__(self, lines: list[bytes]) -> None:
        assert lines, "an empty log is no template"
        self.lines = [_TemplateLine(line) for line in lines]
        times = [line.ts for line in self.lines]
        self.span = max(times) - min(times) + timedelta(seconds=1)

    @classmethod
    def read(cls, path: Path) -> "Template":
        return cls([line for line in path.read_bytes().splitlines() if line])

    def rounds(self, lines: int) -> Iterator[bytes]:
        """Yield `lines` lines in total, one chunk per round (the last one is shorter)."""
        left = lines
        number = 0
        while left > 0:
            some = self.lines[:left]
            yield b"".join(line.varied(number, self.span * number) for line in some)
            left -= len(some)
            number += 1

    def write(self, out: BinaryIO, lines: int) -> None:
        out.writelines(self.rounds(lines))


class _TemplateLine:
    __slots__ = ("parts", "ts")

    def __init__(self, line: bytes) -> None:
        self.parts: list[tuple[bytes, bytes, bytes]] = []  # text before, field, value
        end = 0
        for match in _VARIED_FIELDS.finditer(line):
            self.parts.append((line[end : match.start(2)], match[1], match[2]))
            end = match.end(2)
        self.parts.append((line[end:] + b"\n", b"", b""))
        _, field, value = self.parts[0]
        assert field == b"ts", "a line of this log begins with its time"
        self.ts = datetime.fromisoformat(value.strip(b'"').decode())

    def varied(self, number: int, later: timedelta) -> bytes:
        out = []
        for before, field, value in self.parts:
            out.append(before)
            out.append(_vary_value(field, value, number, self.ts + later) if number else value)
        return b"".join(out)


def _vary_value(field: bytes, value: bytes, number: int, ts: datetime) -> bytes:
    match field:
        case b"ts":
            return ts.astimezone(UTC).strftime('"%Y-%m-%dT%H:%M:%S.%fZ"').encode()
        case b"session_id":
            word = _word(number)
            return b'"' + word + value[1 + len(word) :]
        case b"username":
            return value[:-1] + b"-" + _word(number // 10) + b'"'  # a user comes back ten times
        case b"address":
            return re.sub(rb"127\.0\.0\.1", b"10.%d.%d.7" % (number % 200, number % 13), value)
        case b"":
            return b""
        case _:
            return b"%d" % (int(value) * (90 + number % 21) // 100)


def _word(number: int) -> bytes:
    letters = []
    while True:
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
        if not number:
            return bytes(letters)


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as file:
        Template.read(Path(sys.argv[1])).write(file, int(sys.argv[3]))

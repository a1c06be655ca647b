"""Telnet: text and answers depend on the bytes alone; of commands, only those are left that act on a line."""

import re

from chat_protocol.framing.telnet import ALIVE, TelnetFilter, apply_erasures
from fuzz.cuts import same_for_all_cuts

_LIMIT = 220
_LEFT = re.compile(rb"(?:[^\xff\r]|\xff[\xf7\xf8\xff])*")
_REFUSAL = re.compile(rb"(?:\xff[\xfc\xfe].)*", re.DOTALL)


def check(data: bytes) -> None:
    def feed(pieces: list[bytes]) -> tuple[bytes, bytes, bool]:
        telnet = TelnetFilter(_LIMIT)
        text, answers = b"", b""
        for piece in pieces:
            text += telnet.feed(piece)
            answers += telnet.take_output().replace(ALIVE, b"")
        return text, answers, telnet.overflowed

    text, answers, _ = same_for_all_cuts(data, feed)
    assert _LEFT.fullmatch(text)
    assert _REFUSAL.fullmatch(answers)
    assert len(answers) <= len(data)
    for line in text.split(b"\n"):
        erased = apply_erasures(line)
        assert len(erased) <= len(line)
        assert b"\xff" in line or erased == line

"""Checks the lines written by the plain-text dialect."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def one_line_each(written: bytes, count: int) -> list[str]:
    """Return the first lines of `count` events; assert that all their other lines are indented."""
    shown = written.decode()
    assert not _CONTROL.search(shown), ascii(shown)
    lines = shown.splitlines()
    own = [line for line in lines if not line.startswith("    ")]
    assert len(own) == count, ascii(lines)
    assert written.endswith(b"\n") == bool(count)
    return own

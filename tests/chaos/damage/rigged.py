"""`chat-server` with a store and a clock that fail on request; run as `python -m chaos.damage.rigged`.

Faults are files in the folder CHAOS_SWITCHES: `write` and `read` (the text is SQLite's message), `clock`
(seconds added to the time). Everything else is the real server.
"""

import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from chat_server import __main__ as program
from chat_server import app
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.reader import LogReader
from chat_server.engines.sqlite.upkeep import Upkeep
from chat_server.system_clock import SystemClock

_SWITCHES = Path(os.environ["CHAOS_SWITCHES"])
_CODES = {
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "attempt to write a readonly database": sqlite3.SQLITE_READONLY,
    "database or disk is full": sqlite3.SQLITE_FULL,
}


def _switch(name: str) -> str:
    try:
        return (_SWITCHES / name).read_text()
    except FileNotFoundError:
        return ""


def _fail(name: str) -> None:
    if text := _switch(name):
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = _CODES[text]
        raise error


def _rig(owner: Any, method: str, switch: str) -> None:
    real = getattr(owner, method)

    def rigged(*args: Any, **kwargs: Any) -> Any:
        _fail(switch)
        return real(*args, **kwargs)

    setattr(owner, method, rigged)


class _Clock(SystemClock):
    """The system clock, shifted by the switch `clock`."""

    @staticmethod
    def time() -> float:
        return time.time() + float(_switch("clock") or 0)


def main() -> int:
    _rig(SqliteEngine, "_write_batch", "write")
    _rig(registry, "write_changes", "write")
    _rig(Upkeep, "_checkpoint_log", "write")
    for method in ("read", "find"):
        _rig(LogReader, method, "read")
    setattr(app, "SystemClock", _Clock)  # noqa: B010  mypy sees an import
    return program.main()


if __name__ == "__main__":
    sys.exit(main())

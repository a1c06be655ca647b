"""Runs a Python program that uses the SQLite engine in a process of its own, to be killed or limited."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[2]
_IMPORTS = """
import sys
import time
from pathlib import Path
from chat_server.core.ports.log import StoreUnavailable
from support.engines.kinds import open_sqlite
from support.engines.pen import Pen, events
"""


@contextlib.contextmanager
def run_program(source: str, *args: object, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a program with `Pen` and `open_sqlite` imported; kill it at exit."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent / 'server'}:{TESTS}"}
    process = subprocess.Popen(
        [sys.executable, "-c", _IMPORTS + source, *map(str, args)],
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()

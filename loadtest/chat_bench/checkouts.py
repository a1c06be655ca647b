"""Which servers of ours are measured side by side: this checkout's and others'."""

import argparse
from pathlib import Path

from chat_bench.peers.systems import Greenroom
from chat_bench.process import BenchError, find_program

OURS = "greenroom"


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """Let the other checkouts be named."""
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="PATH",
        help="chat-server of another checkout, or its folder, to compare with; may be repeated",
    )


def servers(others: list[str]) -> dict[str, str]:
    """Return the programs by the names that they have in tables, this checkout's first.

    BenchError says which one is not there.
    """
    ours = find_program(Greenroom.program)
    if ours is None:
        raise BenchError("chat-server is not installed beside this Python")
    found = {OURS: ours}
    for number, other in enumerate(others, 1):
        given = Path(other)
        program = given / ".venv" / "bin" / Greenroom.program if given.is_dir() else given
        if not program.is_file():
            raise BenchError(f"{program} is not there")
        found["other" if len(others) == 1 else f"other {number}"] = str(program)
    return found

"""The floors: the least that a server may take for the same bytes, as loops in C.

The C loop is that of a fan-out. Those of private messages send each message to its sender and to its partner;
one of them commits to SQLite before that, as Greenroom does.
"""

import subprocess
from pathlib import Path
from typing import Final

from chat_bench.peers.protocols import RawProtocol
from chat_bench.peers.systems import System
from chat_bench.process import BenchError, Server, find_program

FOLDER: Final = Path(__file__).parent


class _Compiled(System):
    """A program that is compiled first; `source` is beside this module."""

    program = "cc"
    source: str
    options: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    def __init__(self, program: str, folder: Path, frame_bytes: int) -> None:
        super().__init__(program)
        self.protocol = RawProtocol(frame_bytes)
        self.binary = folder / self.name.replace(" ", "-").replace("+", "and")
        command = [program, "-O2", "-Wall", "-Wextra", *self.options, "-o", str(self.binary)]
        command += [str(FOLDER / self.source), *self.libraries]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise BenchError(f"{self.source} does not compile: {done.stderr.strip()[:500]}")

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the program's command; it chooses a free port itself."""
        del port
        return [str(self.binary), *self.arguments(folder)]

    def arguments(self, folder: Path) -> list[str]:
        """Return its arguments; `folder` is for its files."""
        raise NotImplementedError

    def start(self, folder: Path, ping_interval: float | None = None) -> Server:
        """Start the program."""
        del ping_interval
        own = self.own_folder(folder)
        return Server(self.command(own, 0), port=None, log=own / "output")


class CLoop(_Compiled):
    """The floor of a fan-out: no protocol, no parsing, one send(2) for each receiver."""

    name = "C loop"
    source = "fanout.c"
    workloads = frozenset("ab")

    def arguments(self, folder: Path) -> list[str]:
        """Return the number of receivers."""
        del folder
        return [str(self.receivers)]


class CPairs(_Compiled):
    """The floor of private messages that are echoed: one recv(2), two send(2)."""

    name = "C pairs"
    source = "pairs.c"
    workloads = frozenset("ce")

    def arguments(self, folder: Path) -> list[str]:
        """Return the number of clients."""
        del folder
        return [str(self.pair_clients)]


class CPairsSqlite(CPairs):
    """The floor of private messages that are echoed and durable: a commit for all that are ready at once."""

    name = "C pairs + SQLite"
    promise = "written to the disk's cache before it is acknowledged"
    options = ("-DWITH_SQLITE",)
    libraries = ("-lsqlite3",)

    def arguments(self, folder: Path) -> list[str]:
        """Return the number of clients, and the data file."""
        return [*super().arguments(folder), str(folder / "floor.db")]


FLOORS: Final[tuple[type[_Compiled], ...]] = (CLoop, CPairs, CPairsSqlite)


def compile_floor(wanted: type[_Compiled], folder: Path, frame_bytes: int) -> _Compiled | None:
    """Return a floor, compiled into `folder`, or None where there is no C compiler. Raises `BenchError`."""
    path = find_program("cc") or find_program("gcc")
    return None if path is None else wanted(path, folder, frame_bytes)

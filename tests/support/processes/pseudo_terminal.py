"""A command at a pseudo-terminal, and the screen that its user sees."""

import contextlib
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from typing import Self

PATIENCE_S = 30.0  # generous, as the machine may be busy; waits end as soon as their condition holds


class PseudoTerminal:
    """A command at a pseudo-terminal; `screen` is the visible text.

    Understands as much of ECMA-48 as prompt_toolkit uses, and answers its question where the cursor is.
    """

    def __init__(self, command: list[str], env: dict[str, str], rows: int = 30, columns: int = 80) -> None:
        self.raw = ""
        self.scrolled: list[str] = []  # rows that a resize has moved out of the screen
        self._rows, self._columns = rows, columns
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._partial = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execve(command[0], command, env)
        ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._status: int | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._closed:
            return
        self._closed = True
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def screen(self) -> str:
        return "\n".join("".join(row) for row in self._cells)

    @property
    def modes(self) -> set[str]:
        """The terminal's modes of those that a program changes for itself: ICANON, ECHO, ISIG."""
        flags = termios.tcgetattr(self._fd)[3]
        return {name for name in ("ICANON", "ECHO", "ISIG") if flags & getattr(termios, name)}

    @property
    def pid(self) -> int:
        return self._pid

    def type(self, keys: str | bytes) -> None:
        os.write(self._fd, keys.encode() if isinstance(keys, str) else keys)

    def close_window(self) -> None:
        """Hang up, as closing the window of a terminal does: SIGHUP, and EIO from then on."""
        os.close(self._fd)
        self._fd = -1

    def resize(self, columns: int) -> None:
        """Change the width; lines are wrapped again, as in most terminals.

        Nothing is drawn meanwhile: what was meant for the old width would be put on the new screen.
        """
        os.kill(self._pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOWAIT)
        while self._has_output():
            self._read(0)
        self._wrap(columns)
        os.kill(self._pid, signal.SIGCONT)

    def _has_output(self) -> bool:
        return bool(select.select([self._fd], [], [], 0)[0])

    def _wrap(self, columns: int) -> None:
        rows: list[list[str]] = []
        row, column = 0, self._column
        for index, cells in enumerate(self._cells):
            text = "".join(cells).rstrip()
            if index == self._row:
                text = text.ljust(self._column)
                row, column = len(rows) + self._column // columns, self._column % columns
            pieces = [text[at : at + columns] for at in range(0, max(len(text), 1), columns)]
            rows += [list(piece.ljust(columns)) for piece in pieces]
        while len(rows) > self._rows and row < len(rows) - 1 and not "".join(rows[-1]).strip():
            rows.pop()
        scrolled = max(0, len(rows) - self._rows)
        self.scrolled += ["".join(row) for row in rows[:scrolled]]
        self._cells = rows[scrolled:] + [[" "] * columns for _ in range(self._rows - len(rows))]
        self._row, self._column, self._columns = row - scrolled, column, columns
        ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", self._rows, columns, 0, 0))

    def paste(self, text: str) -> None:
        self.type(f"\x1b[200~{text}\x1b[201~")

    def interrupt(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def see(self, *texts: str) -> None:
        """Wait until all these texts are on the screen."""
        self.until(lambda: all(text in self.screen for text in texts), " and ".join(map(repr, texts)))

    def see_line(self, pattern: str) -> None:
        """Wait until a whole line of the screen matches."""
        self.until(lambda: any(re.fullmatch(pattern, line) for line in self.lines), pattern)

    def until(self, condition: Callable[[], bool], what: str = "it") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not appear on:\n{self.screen}"
            alive = self._read(0.05)
            assert alive or condition(), f"ended without {what}:\n{self.screen}"

    def settle(self) -> None:
        """Read until nothing has come for a while: what follows is drawn on a screen at rest."""
        before = -1
        while before != len(self.raw):
            before = len(self.raw)
            for _ in range(10):
                self._read(0.05)

    def exit_code(self) -> int:
        """Wait for the end of the command; return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._fd >= 0 and self._read(0.05):
            assert time.monotonic() < deadline, f"still running:\n{self.screen}"
        _, status = os.waitpid(self._pid, 0)
        self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        text = self._partial + data.decode(errors="replace")
        self.raw += text[len(self._partial) :]
        self._partial = self._draw(text)
        return bool(data)

    def _draw(self, text: str) -> str:
        position = 0
        while position < len(text):
            char = text[position]
            if char == "\x1b":
                found = re.compile(r"\x1b(?:\[([?>]?[\d;]*)([@-~])|[()].|\][^\x07]*\x07|[=>78])").match(
                    text, position
                )
                if found is None:
                    return text[position:]
                if found.group(2):
                    self._control(found.group(1), found.group(2))
                position = found.end()
                continue
            position += 1
            if char == "\r":
                self._column = 0
            elif char == "\n":
                self._line_feed()
            elif char == "\b":
                self._column = max(0, self._column - 1)
            elif char >= " ":
                if self._column >= self._columns:
                    self._column = 0
                    self._line_feed()
                self._cells[self._row][self._column] = char
                self._column += 1
        return ""

    def _line_feed(self) -> None:
        self._row += 1
        if self._row == self._rows:
            self._row -= 1
            self._cells = [*self._cells[1:], [" "] * self._columns]

    def _control(self, parameters: str, final: str) -> None:
        numbers = [int(number or 0) for number in parameters.strip("?>").split(";")]
        count = max(numbers[0], 1)
        row, column = self._row, min(self._column, self._columns - 1)
        match final:
            case "A":
                self._row = max(0, row - count)
            case "B":
                self._row = min(self._rows - 1, row + count)
            case "C":
                self._column = min(self._columns - 1, column + count)
            case "D":
                self._column = max(0, column - count)
            case "H":
                self._row, self._column = count - 1, max(numbers[-1], 1) - 1 if len(numbers) > 1 else 0
            case "K":
                self._cells[row][column:] = [" "] * (self._columns - column)
            case "J":
                if numbers[0] == 2:
                    self._cells = [[" "] * self._columns for _ in range(self._rows)]
                else:
                    self._cells[row][column:] = [" "] * (self._columns - column)
                    for below in range(row + 1, self._rows):
                        self._cells[below] = [" "] * self._columns
            case "n" if parameters == "6":
                self.type(f"\x1b[{row + 1};{column + 1}R")
            case _:
                pass

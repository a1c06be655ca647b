"""Standard streams of a command: any of them may be closed, full, or a pipe that nobody reads.

The one place that decides what happens then. Standard error is a courtesy: what cannot be written there is
dropped. What cannot be written to standard output ends the command with a sentence and an exit code. The
descriptors 0 to 2 are never left free: a file or socket opened later would get the number, and what a library
prints would be written into it.
"""

import contextlib
import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO, cast

STDOUT: Final = 1
STDERR: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as in shells."""


class OutputError(Exception):
    """Standard output cannot be written. Not an `OSError`, lest it be taken for one of some other file."""

    def __init__(self, error_number: int) -> None:
        super().__init__(os.strerror(error_number))
        self.errno = error_number


class _Output(io.TextIOWrapper):
    """Standard output; raises `OutputError` where a write fails.

    The layers below are those of `io`: one of ours there would lose count of what was written if Ctrl-C came
    between the write and its return, and write it again.
    """

    def write(self, text: str) -> int:
        try:
            written = super().write(text)
            if self.write_through:  # python -u: the buffer below does not know
                super().flush()
        except OSError as error:
            raise OutputError(error.errno or errno.EIO) from error
        return written

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error.errno or errno.EIO) from error


class _Courtesy(io.TextIOWrapper):
    """Standard error; what cannot be written is dropped."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:  # nothing is left to report it on
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):  # as above
            super().flush()


class _NonBlocking(io.FileIO):
    """A descriptor that another process has made non-blocking: waits until it takes bytes."""

    def write(self, data: Any) -> int:
        while (written := cast("int | None", super().write(data))) is None:
            poll = select.poll()
            poll.register(self.fileno(), select.POLLOUT)
            poll.poll()
        return written


class _Closed(io.TextIOBase):
    """Standard output that was closed when the command started."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return STDOUT

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if text:
            raise OutputError(errno.EBADF)
        return 0


def prepare() -> None:
    """Take the standard streams into use; to be called once, before anything is opened or printed.

    Characters that the stream's encoding does not have are written as escapes. `sys.stdin` stays None if it
    is closed.
    """
    _occupy_descriptors()
    if sys.stdout is None:
        sys.stdout = cast("TextIO", _Closed())
    elif sys.stdout is sys.__stdout__:
        sys.stdout = _rebuilt(_Output, STDOUT, cast("io.TextIOWrapper[Any]", sys.stdout))
    if sys.stderr is None:
        sys.stderr = _Courtesy(_buffer(STDERR), "utf-8", "backslashreplace", line_buffering=True)
    elif sys.stderr is sys.__stderr__:
        sys.stderr = _rebuilt(_Courtesy, STDERR, cast("io.TextIOWrapper[Any]", sys.stderr))


def run(
    program: str,
    main: Callable[[], int],
    *,
    output_failed: int,
    reader_gone: int,
    output_closed: int | None = None,
) -> int:
    """Run a command; return its exit code, with all output written.

    Exit codes: `output_failed` if standard output cannot be written, after a sentence on standard error;
    `reader_gone` if it is a pipe that nobody reads any more, as after `| head`; `output_closed` if it was
    closed when the command started and something is to be written (default: as for any other failure);
    `INTERRUPTED` after Ctrl-C. A `SystemExit` of argparse passes through, once its text is written.
    """
    prepare()
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except OutputError as error:
        _discard_output()
        if error.errno == errno.EPIPE:
            return reader_gone
        if error.errno == errno.EBADF and output_closed is not None:
            return output_closed
        print_error(program, f"cannot write to standard output: {error}")
        return output_failed
    except KeyboardInterrupt:
        return INTERRUPTED


def output_problem(text: str) -> str:
    """Write text to standard output, at once; return why it could not be written, empty if it was.

    For code in a program that is not ours, such as a plugin, where `run` is not used. A pipe that is not read
    any more is no problem.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, OutputError, AttributeError) as error:  # AttributeError: it is closed, so None
        number = getattr(error, "errno", None)
        if number is not None:
            _discard_output()
        return "" if number == errno.EPIPE else os.strerror(number or errno.EBADF)
    return ""


def print_error(program: str, sentence: str) -> None:
    """Write `PROGRAM: SENTENCE` to standard error, as one line that is safe for a terminal."""
    line = "".join(
        char if char.isprintable() else " " if char == "\n" else "\N{REPLACEMENT CHARACTER}"
        for char in sentence
    )
    sys.stderr.write(f"{program}: {line}\n")
    sys.stderr.flush()


def _rebuilt(
    kind: type[io.TextIOWrapper], descriptor: int, stream: "io.TextIOWrapper[Any]"
) -> io.TextIOWrapper:
    """Return a stream like `stream`, of another class, which writes escapes for what the encoding lacks."""
    return kind(
        _buffer(descriptor),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _buffer(descriptor: int) -> io.BufferedWriter:
    kind = io.FileIO if os.get_blocking(descriptor) else _NonBlocking
    return io.BufferedWriter(kind(descriptor, "w", closefd=False))


def _occupy_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            if null != descriptor:  # the lowest free one is used, so it is the same unless a thread took it
                os.dup2(null, descriptor)
                os.close(null)


def _discard_output() -> None:
    """Let what is still buffered go nowhere: Python would report it at the exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)

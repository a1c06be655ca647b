"""The server process: settings, standard streams, signals, exit code.

MUST NOT monkey-patch: the server uses raw non-blocking sockets and gevent's loop, so that the threads of the
store, the log and the console stay native.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import gevent
from structlog.typing import FilteringBoundLogger

from chat_cli import streams
from chat_server.app import Server
from chat_server.banner import banner
from chat_server.check import check_report
from chat_server.console.console import Console
from chat_server.console.terminal import has_terminal
from chat_server.engines.factory import CannotStart
from chat_server.observability import event_log
from chat_server.observability.error_stream import BackgroundErrorStream
from chat_server.observability.loop_watchdog import greenlet_stacks
from chat_server.settings import load as settings
from chat_server.settings.load import Config, ConfigError
from chat_server.vocabulary import LogEvent

PROGRAM: Final = "chat-server"
CANNOT_START: Final = 1
STOPPED_AT_ONCE: Final = 1
WRONG_SETTING: Final = 2
"""Exit codes besides 0; listed in docs/operations.md."""

SECOND_SIGNAL_AFTER_S: Final = 1.0
"""Seconds after the first SIGTERM or SIGINT from which another one ends the server at once. Process runners
send both in a row, and a terminal sends Ctrl-C to all its processes, which pass it on."""
STDERR_WAIT_S: Final = 1.0
"""Longest wait for a standard error that is not read: of the lines at the start, and of the last ones."""


def main(early_signals: Sequence[int] = ()) -> int:
    """Run a server until a signal or the console stops it; return the exit code.

    `early_signals`: SIGHUP and SIGUSR1 that came before this call; they are answered once the server runs.
    """
    return streams.run(PROGRAM, lambda: _run(early_signals), output_failed=CANNOT_START, reader_gone=0)


def _run(early_signals: Sequence[int]) -> int:
    argv, environ = sys.argv[1:], dict(os.environ)
    try:
        gathered = settings.gather(argv, environ)
    except ConfigError as error:
        streams.print_error(PROGRAM, str(error))
        return WRONG_SETTING
    for note in gathered.notes:
        streams.print_error(PROGRAM, note)
    if gathered.check:
        report = check_report(gathered)
        sys.stdout.write(report.text)
        return WRONG_SETTING if report.problems else 0
    config = gathered.config
    if config.console and not has_terminal():
        streams.print_error(PROGRAM, "--console needs a terminal to type at; start the server without it")
        return WRONG_SETTING
    try:
        if config.console and not config.log_file:  # the console uses the terminal
            config = replace(config, log_file=str(_log_path_in_data_dir(config)))
        log = event_log.setup(config, environ)
        server = Server(config, log)
    except CannotStart as error:
        streams.print_error(PROGRAM, str(error))
        return CANNOT_START
    except OSError as error:
        where = error.filename or config.log_file or "standard output"
        streams.print_error(PROGRAM, f"cannot write the log to {where}: {error.strerror}")
        return CANNOT_START
    return _serve(server, argv, environ, early_signals)


def _serve(
    server: Server, argv: Sequence[str], environ: dict[str, str], early_signals: Sequence[int]
) -> NoReturn:
    """Start the server, wait until it has stopped, and end the process."""
    sys.stderr = error_stream = BackgroundErrorStream(streams.STDERR)
    log_failed_greenlets(server.log)
    signals = Signals(server, lambda config: settings.reload_limits(config, argv, environ), error_stream)
    signals.install()
    server.start()
    error_stream.write(banner(server.config, server.port, server.store.location, server.hosts))
    error_stream.wait_written(STDERR_WAIT_S)
    operator_console = _start_console(server) if server.config.console else None
    for number in early_signals:
        signals.handle_early(number)
    gc.collect()
    gc.freeze()  # objects that live as long as the program need no further collection
    gc.set_threshold(50_000, 20, 50)
    server.stopped.wait()
    signals.ignore()
    if operator_console is not None:
        operator_console.close()
    error_stream.wait_written(STDERR_WAIT_S)
    # All is stored, logged and closed. The interpreter's own way out takes apart what native threads still
    # use, which can crash the process: a stop that was in order would look like a failure.
    os._exit(0)


def _start_console(server: Server) -> Console:
    def stop(reason: str) -> None:
        gevent.spawn(server.stop, reason)

    operator_console = Console(server.core.hub, server.core.router, stop, server.log)
    # The keys that stop a job belong to the shell: here they would stop the chat for everybody.
    for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    operator_console.start()
    return operator_console


def _log_path_in_data_dir(config: Config) -> Path:
    """Return the log file that is used while the console has the terminal: in the data folder."""
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return config.data_dir / "chat-server.log"


def log_failed_greenlets(log: FilteringBoundLogger) -> None:
    """Have gevent report what a greenlet or a timer raises to the log; it would print it on stderr."""

    def log_exception(_context: object, _type: object, error: BaseException | None, _trace: object) -> None:
        log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    hub: Any = gevent.get_hub()
    hub.print_exception = log_exception


_kept_until_exit: Final[list[object]] = []
"""Without an object of gevent's, its signal has the default action again."""


class Signals:
    """What the server does on each signal. MUST NOT raise: gevent would throw that into the main greenlet."""

    def __init__(
        self,
        server: Server,
        reload_limits: Callable[[Config], settings.Reloaded],
        error_stream: BackgroundErrorStream,
    ) -> None:
        self._server = server
        self._reload_limits = reload_limits
        self._error_stream = error_stream
        self._stop_requested_at: float | None = None
        self._reloading = self._reload_again = False
        self._actions: Mapping[int, Callable[[str], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._show_stacks,
        }
        self._handlers: list[Any] = []  # a handler lasts as long as its object

    def install(self) -> None:
        """Handle the signals from now on."""
        for number, action in self._actions.items():
            name = signal.Signals(number).name
            self._handlers.append(gevent.signal_handler(number, self._handle, action, name))

    def ignore(self) -> None:
        """Ignore the signals from now on. Else the interpreter, on its way out, would let them kill it."""
        _kept_until_exit.append(self)
        for number in self._actions:
            signal.signal(number, signal.SIG_IGN)

    def handle_early(self, number: int) -> None:
        """Do what a signal asked for that came before `install`. Returns at once."""
        gevent.spawn(self._handle, self._actions[number], signal.Signals(number).name)

    def _handle(self, action: Callable[[str], None], name: str) -> None:
        try:
            action(name)
        except Exception as error:
            self._server.log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _stop(self, name: str) -> None:
        now = self._server.clock.monotonic()
        if self._stop_requested_at is None:
            self._stop_requested_at = now
            gevent.spawn(self._server.stop, name)
        elif now - self._stop_requested_at >= SECOND_SIGNAL_AFTER_S:
            self._server.log.warning(LogEvent.SERVER_STOPPED, reason="second_signal", signal=name)
            self._server.sink.flush_briefly()
            self._error_stream.wait_written(STDERR_WAIT_S)
            os._exit(STOPPED_AT_ONCE)

    def _reload(self, name: str) -> None:
        """Reopen the log, and read the limits again. One that comes meanwhile has it done once more."""
        self._server.sink.reopen()
        self._reload_again = True
        if self._reloading:
            return
        self._reloading = True
        try:
            while self._reload_again:
                self._reload_again = False
                self._reload_once(name)
        finally:
            self._reloading = False

    def _reload_once(self, name: str) -> None:
        server = self._server
        # In a native thread: the file may be on a disk that hangs.
        result = gevent.get_hub().threadpool.apply(self._read_limits, (server.config,))
        if isinstance(result, settings.Reloaded):
            server.apply(result.config)
            server.log.info(
                LogEvent.LIMITS_RELOADED,
                changed=result.changed,
                restart_needed=result.restart_needed,
                signal=name,
            )
        elif isinstance(result, ConfigError | SystemExit):
            server.log.error(LogEvent.LIMITS_NOT_RELOADED, error=str(result), signal=name)
        else:
            server.log.error(LogEvent.LIMITS_NOT_RELOADED, exc_info=result, signal=name)

    def _read_limits(self, config: Config) -> settings.Reloaded | BaseException:
        try:
            return self._reload_limits(config)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever is wrong, the old ones stay in force
            return error

    def _show_stacks(self, name: str) -> None:
        self._server.log.info(LogEvent.STACKS, stack=greenlet_stacks(), signal=name)

"""The command `chat-server`.

MUST NOT monkey-patch: the server uses raw non-blocking sockets and gevent's loop, so that the threads of the
store, the log and the console stay native.
"""

import gc
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import gevent

from chat_server.app import Server
from chat_server.console import console
from chat_server.engines.factory import CannotStart
from chat_server.observability import event_log
from chat_server.observability.loop_watchdog import greenlet_stacks
from chat_server.settings import load as settings
from chat_server.settings.load import Config
from chat_server.vocabulary import LogEvent


def main() -> int:
    """Run a server until a signal or the console stops it; return the exit code."""
    argv, environ = sys.argv[1:], dict(os.environ)
    config = settings.load(argv, environ)
    if config.console and not console.has_terminal():
        sys.stderr.write("chat-server: --console needs a terminal to type at; start the server without it\n")
        return 2
    try:
        if config.console and not config.log_file:  # the console uses the terminal
            config = replace(config, log_file=str(_log_path_in_data_dir(config)))
        log = event_log.setup(config, environ)
        server = Server(config, log)
    except CannotStart as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot write the log to {error.filename or config.log_file}: {error.strerror}")
    _handle_signals(server, argv, environ)
    server.start()
    _print_addresses(server, config)
    operator_console = _start_console(server) if config.console else None
    gc.collect()
    gc.freeze()  # objects that live as long as the program need no further collection
    gc.set_threshold(50_000, 20, 50)
    server.stopped.wait()
    if operator_console is not None:
        operator_console.close()
    return 0


def _start_console(server: Server) -> console.Console:
    def stop(reason: str) -> None:
        gevent.spawn(server.stop, reason)

    operator_console = console.Console(server.core.hub, server.core.router, stop, server.log)
    operator_console.start()
    return operator_console


def _log_path_in_data_dir(config: Config) -> Path:
    """Return the log file that is used while the console has the terminal: in the data folder."""
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return config.data_dir / "chat-server.log"


def _handle_signals(server: Server, argv: list[str], environ: dict[str, str]) -> None:
    stops: list[str] = []

    def stop(name: str) -> None:
        if stops:  # a second signal: stop at once
            server.sink.flush()
            os._exit(1)
        stops.append(name)
        gevent.spawn(server.stop, name)

    def reload() -> None:
        server.sink.reopen()
        try:
            reloaded = settings.reload_limits(server.config, argv, environ)
        except (ValueError, SystemExit) as error:
            server.log.error(LogEvent.LIMITS_NOT_RELOADED, error=str(error), signal="SIGHUP")
            return
        server.apply(reloaded.config)
        server.log.info(
            LogEvent.LIMITS_RELOADED,
            changed=reloaded.changed,
            restart_needed=reloaded.restart_needed,
            signal="SIGHUP",
        )

    def show_stacks() -> None:
        server.log.info(LogEvent.STACKS, stack=greenlet_stacks(), signal="SIGUSR1")

    gevent.signal_handler(signal.SIGTERM, stop, "SIGTERM")
    gevent.signal_handler(signal.SIGINT, stop, "SIGINT")
    gevent.signal_handler(signal.SIGHUP, reload)
    gevent.signal_handler(signal.SIGUSR1, show_stacks)


def _print_addresses(server: Server, config: Config) -> None:
    """Print on stderr where the server listens, where it stores messages, and how to connect."""
    data = f"in {server.store.location}" if config.store_path else "in memory, and lost when it stops"
    host = config.host
    reached = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  compared, not bound
    port = "" if server.port == settings.Config().port else f" --port {server.port}"
    beside = os.path.relpath(Path(sys.argv[0]).with_name("chat-client"))
    client = "chat-client" if shutil.which("chat-client") else beside
    where = "" if reached == "127.0.0.1" else f" --host {reached}"
    measured = ""
    if config.metrics_port:
        shown = f"[{config.metrics_host}]" if ":" in config.metrics_host else config.metrics_host
        measured = f"Metrics: http://{shown}:{config.metrics_port}/metrics\n"
    sys.stderr.write(
        f"Greenroom listens on {server.address}. Messages are kept {data}.\n"
        f"Connect with: {client}{where}{port}   or: nc {reached} {server.port}\n"
        f"{measured}"
        "Ctrl-C stops the server.\n"
    )
    sys.stderr.flush()


def _fail(sentence: str) -> int:
    sys.stderr.write(f"chat-server: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Opens the engine that the settings choose."""

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from gevent.threadpool import ThreadPool

from chat_server.engines.engine import Engine
from chat_server.engines.memory import MemoryEngine
from chat_server.engines.sqlite.damage import is_corruption
from chat_server.engines.sqlite.data_file_lock import StoreLocked
from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.schema import ForeignFile, SchemaTooNew
from chat_server.settings.load import Config


class CannotStart(Exception):  # noqa: N818  a sentence for the user
    """Raised when the server cannot start; the text is one line for the user."""


def open_engine(config: Config, clock: Callable[[], float]) -> Engine:
    """Return the engine of `config`. Raises `CannotStart` if it cannot be opened.

    `clock` returns seconds since the epoch, for the timestamps of messages.
    """
    path = config.store_path
    if path is None:
        return MemoryEngine(config.memory_messages, clock, max_bytes=config.memory_bytes)
    # One native thread each, so that appends (with --sync full only), history, lagging sessions, and
    # checkpoints do not wait for each other.
    try:
        return SqliteEngine(
            path,
            full_sync=config.sync == "full",
            offload=_thread(),
            read_offload=_thread(),
            feed_offload=_thread(),
            upkeep_offload=_thread(),
            clock=clock,
        )
    except (StoreLocked, ForeignFile, SchemaTooNew) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"cannot store data at {error.filename or path}: {error.strerror}") from error
    except sqlite3.Error as error:
        advice = ": restore a backup" if is_corruption(error) else ""
        raise CannotStart(f"cannot use the data file {path}: {error}{advice}") from error


def _thread() -> Callable[..., Any]:
    """Return a function that runs others in a native thread of its own, one at a time."""
    pool: Final[Any] = ThreadPool(1)

    def run(function: Callable[..., Any], *args: Any) -> Any:
        return _run_in_thread(pool, function, args)

    return run


def _run_in_thread(pool: Any, function: Any, args: tuple[Any, ...]) -> Any:
    """Run `function` in a native thread; return its result or raise its error.

    The error is passed as a value, because gevent prints an exception that leaves a pool thread.
    """
    value, error = pool.apply(_result_or_error, (function, args))
    if error is not None:
        raise error
    return value


def _result_or_error(function: Any, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001  raised again in the caller's greenlet
        return None, error

"""The event log: structlog set up to render JSON lines for programs, coloured lines for a terminal.

There is no global logger: `setup` returns the one that app.py passes on.
"""

import errno
import json
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.typing import FilteringBoundLogger, Processor

from chat_server.observability.log_sink import LogSink
from chat_server.settings.load import Config
from chat_server.vocabulary import HISTOGRAMS

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Fields = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventLogger:
    """The logger, bound to this node, and the sink of its lines."""

    logger: FilteringBoundLogger
    sink: LogSink


class _LineWriter:
    """The wrapped logger of structlog: passes a rendered line on, whatever its level."""

    __slots__ = ("critical", "debug", "error", "info", "warning")

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = put


def setup(config: Config, environ: Mapping[str, str], *, sink: LogSink | None = None) -> EventLogger:
    """Return the log for `config`; its sink is open, and writes once it is started or flushed.

    Raises `OSError` if the log file cannot be opened or standard output is closed.
    """
    if sink is None:
        if not config.log_file and sys.__stdout__ is None:  # closed when the program started
            raise OSError(errno.EBADF, "standard output is closed")
        sink = LogSink(config.log_file)
    # https://no-color.org: set and not empty. A dumb terminal has no colours either.
    colors = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    render = terminal_processors(colors=colors) if sink.is_terminal else [render_json]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _LineWriter(sink.put),
        processors=[_never_raising(_add_exception_fields, _add_common_fields, *render)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[config.log_level]),
        node=config.node,
    ).bind()
    sink.log = logger
    return EventLogger(logger, sink)


def _never_raising(*processors: Processor) -> Processor:
    """Return the processors as one that always returns a line: a bad one must not stop a room."""

    def process(logger: object, level: str, fields: Fields) -> Any:
        head = {"event": str(fields.get("event")), "node": str(fields.get("node", ""))}
        try:
            done: Any = fields
            for processor in processors:
                done = processor(logger, level, done)
        except Exception as error:  # noqa: BLE001  see above
            reason = f"the line cannot be written: {type(error).__name__}"
            return render_json(logger, level, _add_common_fields(logger, level, {**head, "error": reason}))
        return done

    return process


def _add_common_fields(_logger: object, level: str, fields: Fields) -> Fields:
    """Add the fields of every line in front; leave out fields that are None."""
    ts = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = {"ts": ts, "level": level, "event": str(fields.pop("event")), "node": fields.pop("node", "")}
    return {**head, **{key: value for key, value in fields.items() if value is not None}}


def _add_exception_fields(_logger: object, _level: str, fields: Fields) -> Fields:
    """Replace `exc_info` by the fields `error`, `error_type` and `stack`."""
    given = fields.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    if error is not None:
        fields.setdefault("error", str(error))
        fields.setdefault("error_type", type(error).__name__)
        fields.setdefault("stack", "".join(traceback.format_exception(error)))
    return fields


def render_json(_logger: object, _level: str, fields: Fields) -> bytes:
    """Render a line as JSON. Never raises: values that JSON cannot express are written as their `repr`."""
    try:
        return msgspec.json.encode(fields, enc_hook=repr) + b"\n"
    except (ValueError, TypeError, RecursionError):
        # A lone surrogate (from a file name that is not UTF-8), a key that is not a string, a cycle.
        plain = {
            str(key): value if isinstance(value, str | float) else repr(value)
            for key, value in fields.items()
        }
        return json.dumps(plain).encode() + b"\n"


def terminal_processors(*, colors: bool) -> list[Processor]:
    """Return the processors for a terminal: time of day only, no node, no histograms, no escape codes."""
    render = ConsoleRenderer(
        colors=colors,
        exception_formatter=plain_traceback,
        sort_keys=False,
        timestamp_key="ts",
        pad_event_to=20,
        pad_level=False,
    )

    def encode(_logger: object, level: str, fields: Fields) -> bytes:
        return str(render(None, level, fields)).encode("utf-8", "backslashreplace") + b"\n"

    return [_shorten_for_terminal, encode]


def _shorten_for_terminal(_logger: object, _level: str, fields: Fields) -> Fields:
    shown: Fields = {}
    for key, value in fields.items():
        if key in HISTOGRAMS or key == "node":
            continue
        if key == "stack":
            shown[key] = "\n".join(to_printable(line) for line in str(value).splitlines())
        elif key == "ts":
            shown[key] = str(value)[11:23]
        elif key == "rooms" and isinstance(value, list):
            shown[key] = {room["room"]: room["messages"] for room in value}
        else:
            shown[key] = to_printable(value) if isinstance(value, str) else value  # others by their repr
    return shown


def to_printable(text: str) -> str:
    """Return `text` with control, invisible and bidirectional characters escaped, safe for a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

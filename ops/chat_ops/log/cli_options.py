"""From the options of a command to the log they mean.

Knows the options that say which lines. Must not know reports.
"""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from chat_ops.log import anonymize
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import DEFAULT_MEMORY, EventLog
from chat_ops.log.filters import Filters, point_in_time


def add_options(parser: argparse.ArgumentParser, **default: Any) -> None:
    """Add the options that `open_log` understands."""
    line_options = parser.add_argument_group("which lines")
    line_options.add_argument(
        "--since",
        metavar="TIME",
        help="from then on: 2026-11-21T14:30, 14:30, 2h, 3d, yesterday (UTC)",
        **default,
    )
    line_options.add_argument("--until", metavar="TIME", help="before then", **default)
    line_options.add_argument(
        "--room", help="what is about this room (of intervals, its share of them)", **default
    )
    line_options.add_argument(
        "--user", action="append", help="what is about this user; may be repeated", **default
    )
    line_options.add_argument(
        "--node", action="append", help="what this node wrote; may be repeated", **default
    )
    anonymize_options = parser.add_argument_group("for showing to others")
    anonymize_options.add_argument(
        "--anonymize",
        action="store_true",
        help="replace names, rooms and addresses by stable words",
        **default,
    )
    anonymize_options.add_argument(
        "--anonymize-key",
        metavar="FILE",
        help="the same words in each run with this key (made if new)",
        **default,
    )
    resource_options = parser.add_argument_group("means")
    resource_options.add_argument(
        "--memory", metavar="SIZE", help=f"what DuckDB may use ({DEFAULT_MEMORY})", **default
    )
    resource_options.add_argument(
        "--threads", type=int, metavar="N", help="threads that read (one a core)", **default
    )


def open_log(args: argparse.Namespace, files: Sequence[str] | None = None, **changed: Any) -> EventLog:
    """Return the log of `files` (by default those of `args`), filtered as `args` say; no line is read.

    `changed` replaces options: `open_log(args, since="2h")`. Raises UsageError if nothing can be read.
    """
    options = {**vars(args), **changed}
    filters = parse_filters(options)
    key_file = options.get("anonymize_key")
    memory = options.get("memory") or DEFAULT_MEMORY
    if not re.fullmatch(r"\d{1,9}(\.\d+)?\s*[KMGT]i?B", memory, re.IGNORECASE):
        raise UsageError(f"{memory!r} is no size of memory: write 512MB or 4GB")
    threads = options.get("threads")
    if threads is not None and threads < 1:
        raise UsageError("--threads is a number from 1")
    return EventLog(
        options["files"] if files is None else files,
        filters,
        anonymize_key=anonymize.load_key(key_file) if key_file or options.get("anonymize") else None,
        memory=memory,
        threads=threads or 0,
    )


def parse_filters(options: dict[str, Any]) -> Filters:
    """Return what the options say of lines. Raises UsageError."""
    since, until = (
        point_in_time(text) if text else None for text in (options.get("since"), options.get("until"))
    )
    if since and until and since >= until:
        raise UsageError(f"--since ({since}) is not before --until ({until})")
    room: str = options.get("room") or ""
    users, nodes = (tuple(options.get(name) or ()) for name in ("user", "node"))
    for word in (room, *users, *nodes):
        if not word.isprintable():
            raise UsageError(f"{word!r} cannot be a name")
    return Filters(since, until, room, users, nodes)

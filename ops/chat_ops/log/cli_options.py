"""Command-line options that choose log lines, and the `EventLog` made from them."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from chat_ops.log import anonymize
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import DEFAULT_MEMORY, EventLog
from chat_ops.log.filters import Filters, point_in_time

MOST_THREADS = 256
"""Each takes buffers of twice the longest line, and address space for its stack."""


def add_options(parser: argparse.ArgumentParser, **default: Any) -> None:
    """Add the options that `open_log` reads."""
    line_options = parser.add_argument_group("filters")
    line_options.add_argument(
        "--since",
        metavar="TIME",
        help="lines from this time on: 2026-11-21T14:30, 14:30, 2h, 3d, yesterday (UTC)",
        **default,
    )
    line_options.add_argument("--until", metavar="TIME", help="lines before this time", **default)
    line_options.add_argument(
        "--room", help="lines about this room (and its share of the intervals)", **default
    )
    line_options.add_argument(
        "--user", action="append", help="lines about this user; may be repeated", **default
    )
    line_options.add_argument(
        "--node", action="append", help="lines of this node; may be repeated", **default
    )
    anonymize_options = parser.add_argument_group("anonymous output")
    anonymize_options.add_argument(
        "--anonymize",
        action="store_true",
        help="replace names, rooms and addresses by pseudonyms",
        **default,
    )
    anonymize_options.add_argument(
        "--anonymize-key",
        metavar="FILE",
        help="the same pseudonyms in each run with this key (created if missing)",
        **default,
    )
    resource_options = parser.add_argument_group("resources")
    resource_options.add_argument(
        "--memory", metavar="SIZE", help=f"memory limit of DuckDB ({DEFAULT_MEMORY})", **default
    )
    resource_options.add_argument(
        "--threads", type=int, metavar="N", help="reader threads (one per core)", **default
    )


def open_log(args: argparse.Namespace, files: Sequence[str] | None = None, **changed: Any) -> EventLog:
    """Return the log of `files` (by default `args.files`) with the filters of `args`; reads no line yet.

    `changed` overrides options: `open_log(args, since="2h")`. Raises `UsageError` for wrong options or
    unreadable files.
    """
    options = {**vars(args), **changed}
    filters = parse_filters(options)
    key_file = options.get("anonymize_key")
    memory = options.get("memory") or DEFAULT_MEMORY
    if not re.fullmatch(r"\d{1,9}(\.\d+)?\s*[KMGT]i?B", memory, re.IGNORECASE):
        raise UsageError(f"invalid memory size {memory!r}: write 512MB or 4GB")
    threads = options.get("threads")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads must be from 1 to {MOST_THREADS}, not {threads}")
    return EventLog(
        options["files"] if files is None else files,
        filters,
        anonymize_key=anonymize.load_key(key_file) if key_file or options.get("anonymize") else None,
        memory=memory,
        threads=threads or 0,
    )


def parse_filters(options: dict[str, Any]) -> Filters:
    """Return the filters of the options. Raises `UsageError`."""
    since, until = (
        point_in_time(text) if text else None for text in (options.get("since"), options.get("until"))
    )
    if since and until and since >= until:
        raise UsageError(f"--since ({since}) is not before --until ({until})")
    room: str = options.get("room") or ""
    users, nodes = (tuple(options.get(name) or ()) for name in ("user", "node"))
    for word in (room, *users, *nodes):
        if not word.isprintable():
            raise UsageError(f"invalid name {word!r}: it contains an unprintable character")
    return Filters(since, until, room, users, nodes)

"""The command `report`: a self-contained HTML page with plots, tables and a filter.

plotly.js from the package plotly has 4.8 MB; gzipped and in base64 it is 2 MB, which the browser decompresses
(DecompressionStream: Chrome 80, Safari 16.4, Firefox 113). The page's Content-Security-Policy forbids it to
fetch anything and to run any script but its own.
"""

import argparse
import base64
import gzip
import json
import secrets
import stat
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from chat_cli import output_file
from chat_cli.streams import print_error
from chat_ops.exit_codes import EXIT_OK
from chat_ops.log import cli_options
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import format_value
from chat_ops.page import data as page_data

HELP: Final = "self-contained HTML page with plots, tables and a filter: report --html FILE"

_SCRIPTS: Final = ("formatting.js", "filter.js", "metrics.js", "plots.js", "tables.js", "page.js")
"""In order of dependence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output file and the log files."""
    parser.add_argument("--html", metavar="FILE", required=True, help="the HTML file to write")
    parser.add_argument(
        "files", nargs="+", metavar="LOG", help="log files, patterns, or - for standard input"
    )


def main(args: argparse.Namespace) -> int:
    """Write the page; return the exit code. Raises `UsageError` if it cannot be written."""
    problem = output_file.find_problem(args.html)
    if problem:
        raise _unwritable(args.html, problem)
    with cli_options.open_log(args) as log:
        if _identity(args.html) in {source.identity for source in log.input_files}:
            raise UsageError(f"{args.html} is a log file: choose another name for the page")
        page = render_page(log).encode()
        log.require_log_lines()
    try:
        output_file.write_file(args.html, page)
    except OSError as error:
        raise _unwritable(args.html, error.strerror or str(error)) from None
    print_error("chat-logs", f"{args.html} written ({len(page) / 1e6:.1f} MB)")
    return EXIT_OK


def render_page(log: EventLog) -> str:
    """Return the page's HTML."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  the other reports do without
    from markupsafe import Markup  # noqa: PLC0415

    data = page_data.build_page(log)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["word"] = format_value
    return environment.from_string(_read_resource("logs.html.jinja")).render(
        head=data.head,
        tiles=data.tiles,
        tables=data.tables,
        anonymous=log.anonymous,
        filters=data.filters,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        nonce=secrets.token_urlsafe(16),
        css=Markup(_read_resource("logs.css")),  # noqa: S704  our own, as the scripts and the library
        scripts=Markup("\n".join(_read_resource(name) for name in _SCRIPTS)),  # noqa: S704
        library=Markup(_packed_plotly()),  # noqa: S704
        data=Markup(script_json(data.embedded)),  # noqa: S704  escaped, cannot end its element
    )


def script_json(value: Any) -> str:
    """Return compact JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _unwritable(name: str, problem: str) -> UsageError:
    return UsageError(f"cannot write {name}: {problem}")


def _identity(name: str) -> tuple[int, int] | None:
    """Return device and inode of a regular file; None for anything else, or if it does not exist."""
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _read_resource(name: str) -> str:
    return resources.files("chat_ops").joinpath("page", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")

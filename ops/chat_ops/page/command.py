"""The command `report`: a self-contained HTML page with plots, tables and a filter.

plotly.js from the package plotly has 4.8 MB; gzipped and in base64 it is 2 MB, which the browser decompresses
(DecompressionStream: Chrome 80, Safari 16.4, Firefox 113). The page's Content-Security-Policy forbids it to
fetch anything and to run any script but its own.
"""

import argparse
import base64
import contextlib
import gzip
import json
import os
import secrets
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

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
    target = Path(args.html)
    with cli_options.open_log(args) as log:
        if target.exists() and any(target.samefile(source.path) for source in log.input_files):
            raise UsageError(f"{args.html} is a log file: choose another name for the page")
        _write(target, render_page(log))
    sys.stderr.write(f"chat-logs: {target} written ({target.stat().st_size / 1e6:.1f} MB)\n")
    return 0


def render_page(log: EventLog) -> str:
    """Return the page's HTML."""
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


def _write(target: Path, page: str) -> None:
    """Write the page atomically. Raises `UsageError`."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is reported
            part.unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def _read_resource(name: str) -> str:
    return resources.files("chat_ops").joinpath("page", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")

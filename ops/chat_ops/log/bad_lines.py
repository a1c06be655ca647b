"""Table of the bad lines: file, line number, what is wrong, first bytes.

DuckDB decides which lines are bad; this module only fetches the text of the first ones.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from chat_ops.log import long_lines
from chat_ops.log.event_log import EventLog
from chat_ops.log.input_files import InputFile, open_decompressed
from chat_ops.table import ReportColumn, ReportTable, Row

MAX_SHOWN_LINES: Final = 50
"""Rows of the table, over all files."""
SHOWN_TEXT_BYTES: Final = 200
"""Bytes of each line that are shown."""
_BLANK: Final = b" \t\r\n\v\f"


def bad_lines_table(log: EventLog) -> ReportTable:
    """Return the first bad lines of each file."""
    rows: list[Row] = []
    count = log.bad_lines  # a first pass, after which `input_files` can be read whatever their lines are
    for source in log.input_files:
        if len(rows) < MAX_SHOWN_LINES and (
            ordinals := log.bad_ordinals(source, MAX_SHOWN_LINES - len(rows))
        ):
            rows.extend(_rows_of_file(source, ordinals, anonymous=log.anonymous))
    notes = [] if len(rows) == count else [f"{count} lines are bad; the first {len(rows)} are listed"]
    return ReportTable(
        "bad_lines",
        "Lines that are not log lines",
        (
            ReportColumn("file", "file", "text"),
            ReportColumn("line", "line", "count", "Number of the line in its file, from 1"),
            ReportColumn("bytes", "bytes", "bytes"),
            ReportColumn("wrong", "what is wrong", "text"),
            ReportColumn("text", "begins with", "text"),
        ),
        rows,
        notes,
    )


def _rows_of_file(source: InputFile, ordinals: Sequence[int], *, anonymous: bool) -> Iterator[Row]:
    wanted = iter(ordinals)
    sought = next(wanted, None)
    ordinal = 0
    with open_decompressed(source) as file:
        for number, line in enumerate(file or (), start=1):
            if sought is None:
                return
            if not line.strip(_BLANK):
                continue
            ordinal += 1
            if ordinal == sought:
                text = line.rstrip(b"\r\n")
                name = None if anonymous else source.name
                begins = None if anonymous else text[:SHOWN_TEXT_BYTES].decode("utf-8", "backslashreplace")
                if (cut := long_lines.parse_marker(text)) is not None:
                    yield (name, number, *cut, None)
                else:
                    yield (name, number, len(text), _describe_problem(text), begins)
                sought = next(wanted, None)
    if file is None:
        yield from ((None if anonymous else source.name, None, None, None, None) for _ in ordinals)


def _describe_problem(line: bytes) -> str:
    """Return in a few words why the line is bad."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if not text.lstrip().startswith("{"):
        return "not a JSON object"
    try:
        fields = json.loads(text)
    except RecursionError:
        return "nested too deeply"
    except json.JSONDecodeError as error:
        return "more than one object" if error.msg == "Extra data" else "truncated, or not JSON"
    except ValueError:  # a number with more digits than Python converts
        return "unreadable JSON"
    missing = [name for name in ("ts", "event") if name not in fields]
    if missing:
        return f"no {' and no '.join(missing)}"
    if isinstance(fields["ts"], str) and _has_lone_surrogate(text):
        return "a lone surrogate"
    return "ts or event has a wrong type"


def _has_lone_surrogate(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False

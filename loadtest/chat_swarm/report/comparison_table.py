"""Formats a comparison of two runs, as a table for a terminal or as JSON."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from chat_swarm.model.units import DASH, in_unit, plural, printable, signed_percentage, significant
from chat_swarm.results.compare import ComparedMetric, Comparison

_BOLD: Final = "\x1b[1m"
_RED: Final = "\x1b[31m"
_YELLOW: Final = "\x1b[33m"
_DIM: Final = "\x1b[2m"
_RESET: Final = "\x1b[0m"
_HEADINGS: Final = ("figure", "A", "B", "change", "")


def as_json(found: Comparison) -> str:
    """Return the comparison as JSON; each number is in the `unit` of its line."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def format_table(found: Comparison, *, colour: bool) -> str:
    """Return warnings, the table of figures, a legend and the results of the bounds."""
    paint = _paint if colour else _plain
    lines = [f"A = {printable(found.a)}, B = {printable(found.b)}, {found.scope} seconds"]
    lines += [paint(f"WARNING: {printable(warning)}", _YELLOW) for warning in found.warnings]
    for title, of_server in (("server", True), ("generator", False)):
        rows = [(line, _cells(line)) for line in found.lines if line.of_server is of_server]
        if rows:
            lines += ["", *_table(title, rows, paint)]
    lines += ["", *_legend(found)]
    for verdict in found.verdicts:
        mark = paint("BROKEN", _RED) if verdict.failed else "held  "
        lines.append(f"{mark}  {printable(verdict.text)}: {verdict.why}")
    return "\n".join(lines) + "\n"


def _table(
    title: str, rows: list[tuple[ComparedMetric, tuple[str, ...]]], paint: Callable[[str, str], str]
) -> Iterator[str]:
    head = (title, *_HEADINGS[1:])
    widths = [
        max(len(cells[column]) for cells in (head, *(cells for _, cells in rows))) for column in range(5)
    ]

    def line(cells: tuple[str, ...]) -> str:
        first, *rest = (
            cell.ljust(width) if column in {0, 4} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join((first, *rest)).rstrip()

    yield paint(line(head), _BOLD)
    for figure, cells in rows:
        text = line(cells)
        stressed = figure.beyond or figure.large_ratio is not None
        yield paint(text, _BOLD) if stressed else paint(text, _DIM) if figure.beyond is False else text


def _cells(line: ComparedMetric) -> tuple[str, ...]:
    relative = line.relative_change
    note = {True: "beyond noise", False: "", None: "noise unknown"}[line.beyond]
    if not line.beyond and line.large_ratio is not None:
        more, less = ("B", "A") if (line.b or 0) > (line.a or 0) else ("A", "B")
        note = f"{note or 'within noise'}, but {more} is {significant(line.large_ratio)} times {less}"
    if relative is None or (line.a == line.b):
        note = ""
    return (
        line.name,
        in_unit(line.a, line.unit),
        in_unit(line.b, line.unit),
        DASH if relative is None or line.a == line.b else signed_percentage(relative),
        note,
    )


def _legend(found: Comparison) -> Iterator[str]:
    beyond = sum(1 for line in found.lines if line.beyond)
    unknown = [line for line in found.lines if line.beyond is None and line.relative_change is not None]
    if found.too_short:
        yield found.too_short
        if beyond:
            yield f"{plural(beyond, 'figure')} changed by more than chance (faults, errors): see the table."
    else:
        yield (
            f"{beyond} of {len(found.lines)} figures changed beyond noise: the confidence intervals of the"
            " two runs do not overlap."
        )
        if unknown:
            yield (
                f"The noise of {len(unknown)} others is unknown: maxima, rare events, and single numbers per"
                " run."
            )
    if by_far := [line.name for line in found.lines if not line.beyond and line.large_ratio is not None]:
        yield (
            f"Different by a factor of ten or more: {', '.join(by_far)}. Except for maxima, that is hardly"
            " noise."
        )
    yield "A single run cannot show variation between runs; if it matters, repeat both."


def _paint(text: str, how: str) -> str:
    return f"{how}{text}{_RESET}"


def _plain(text: str, _: str) -> str:
    return text

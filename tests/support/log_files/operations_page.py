"""Generates the tables of docs/operations.md from the log's vocabulary and the table of metrics.

`PYTHONPATH=tests python -m support.log_files.operations_page` writes them between their markers; a test
checks that they are current.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from chat_server.observability.metrics.table import METRICS, MetricSpec
from chat_server.vocabulary import COMMON, EVENTS, FIELDS

OPERATIONS_PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table as Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code_list(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def labels(row: MetricSpec) -> str:
    if row.values:
        return f"`{row.labels[0]}`: {code_list(row.values)}"
    return code_list(row.labels)


def generated_tables() -> dict[str, str]:
    """Return each table by the name of its markers."""
    return {
        "events": markdown_table(
            ["event", "meaning", f"fields, besides {code_list(COMMON)}"],
            ([f"`{name}`", event.meaning, code_list(event.fields)] for name, event in EVENTS.items()),
        ),
        "fields": markdown_table(
            ["field", "meaning"], ([f"`{name}`", text] for name, text in FIELDS.items())
        ),
        "metrics": markdown_table(
            ["metric", "type", "unit", "labels", "field of the log", "meaning"],
            (
                [
                    f"`{row.name}`",
                    str(row.kind),
                    row.unit,
                    labels(row),
                    f"`{row.field}`" if row.field else "",
                    row.meaning,
                ]
                for row in METRICS
            ),
        ),
        "bounds": markdown_table(
            ["histogram", "bounds in seconds"],
            (
                [f"`{row.name}`", ", ".join(f"{bound:g}" for bound in row.bounds)]
                for row in METRICS
                if row.bounds
            ),
        ),
    }


def with_tables(text: str) -> str:
    """Return the page with current tables. Raises ValueError if a marker is missing."""
    for name, made in generated_tables().items():
        between = re.compile(rf"(<!-- {name}: made by .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if len(between.findall(text)) != 1:
            raise ValueError(f"the page has no place for {name}, or several")
        text = between.sub(lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    OPERATIONS_PAGE.write_text(with_tables(OPERATIONS_PAGE.read_text()))

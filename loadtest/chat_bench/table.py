"""Results as a page of Markdown, readable as plain text too.

Knows results. Must not measure.
"""

from collections.abc import Sequence

from chat_bench.results import METRICS, Results

OURS = "greenroom"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the head, as a Markdown table with columns of even width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def cell(results: Results, metric: str, system: str) -> str:
    """Return a median, with its range when there was more than one round."""
    found = results.summary(metric, system)
    if found is None:
        return "-"
    digits = METRICS[metric].digits
    median, least, most = (f"{value:,.{digits}f}" for value in (found.median, found.least, found.most))
    return median if least == most else f"{median} ({least}-{most})"


def measurements(results: Results) -> str:
    """Return the table of what was measured."""
    systems = list(results.versions)
    rows = [["CPU of the server process", *(f"{name} {results.versions[name]}".strip() for name in systems)]]
    rows += [
        [METRICS[metric].title, *(cell(results, metric, name) for name in systems)]
        for metric in METRICS
        if metric in results.samples
    ]
    return table(rows)


def comparison(results: Results) -> str:
    """Return the table of our medians divided by the others'; empty when there is nothing to compare."""
    others = [name for name in results.versions if name != OURS]
    rows = []
    for metric, shown in METRICS.items():
        ratios = [results.ratio(metric, OURS, other) for other in others]
        if shown.ratio and any(ratio is not None for ratio in ratios):
            rows.append([shown.title.split(": ")[0], *("-" if r is None else f"{r:.2f}" for r in ratios)])
    return table([[f"{OURS} divided by", *others], *rows]) if rows else ""


def page(results: Results) -> str:
    """Return the whole page."""
    settings = results.settings
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [measurements(results), comparison(results)]
    rounds, seconds = settings["rounds"], settings["seconds"]
    lines = [
        f"Machine: {machine}. Measured {results.started}.",
        f"Rounds: {rounds:.0f} of {seconds:g} s, in turn, each on a fresh server; medians (least-most).",
    ]
    lines += results.notes
    if results.absent:
        lines.append(f"Not here, so not measured: {', '.join(results.absent)}.")
    lines += [f"Failed: {failure}." for failure in results.failures]
    parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(part for part in parts if part)

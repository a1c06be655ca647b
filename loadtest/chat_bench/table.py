"""Formats results as Markdown tables that are readable as plain text."""

from collections.abc import Sequence

from chat_bench.results import METRICS, Results

OURS = "greenroom"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, of which the first is the head, as a Markdown table with padded columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def cell(results: Results, metric: str, system: str) -> str:
    """Return a median, with its range if there was more than one round."""
    found = results.summary(metric, system)
    if found is None:
        return "-"
    digits = METRICS[metric].digits
    median, least, most = (f"{value:,.{digits}f}" for value in (found.median, found.least, found.most))
    return median if least == most else f"{median} ({least}-{most})"


def measurements(results: Results) -> str:
    """Return the table of medians by metric and system."""
    systems = list(results.versions)
    rows = [["CPU of the server process", *(f"{name} {results.versions[name]}".strip() for name in systems)]]
    rows += [
        [METRICS[metric].title, *(cell(results, metric, name) for name in systems)]
        for metric in METRICS
        if metric in results.samples
    ]
    return table(rows)


def comparison(results: Results) -> str:
    """Return the table of Greenroom's medians divided by the others'; "" if there are none."""
    others = [name for name in results.versions if name != OURS]
    rows = []
    for metric, shown in METRICS.items():
        ratios = [results.ratio(metric, OURS, other) for other in others]
        if shown.ratio and any(ratio is not None for ratio in ratios):
            rows.append([shown.title.split(": ")[0], *("-" if r is None else f"{r:.2f}" for r in ratios)])
    return table([[f"{OURS} divided by", *others], *rows]) if rows else ""


def page(results: Results) -> str:
    """Return both tables and the notes."""
    settings = results.settings
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [measurements(results), comparison(results)]
    rounds, seconds = settings["rounds"], settings["seconds"]
    lines = [
        f"Machine: {machine}. Measured {results.started}.",
        f"Rounds: {rounds:.0f} of {seconds:g} s, in turn, each on a fresh server; medians (least-most).",
    ]
    by_promise: dict[str, list[str]] = {}
    for system, promise in results.promises.items():
        by_promise.setdefault(promise, []).append(system)
    lines += [f"A message: {promise}: {', '.join(names)}." for promise, names in by_promise.items()]
    lines += results.notes
    if results.absent:
        lines.append(f"Not installed, so not measured: {', '.join(results.absent)}.")
    lines += [f"Failed: {failure}." for failure in results.failures]
    parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(part for part in parts if part)

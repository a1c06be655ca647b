"""Alerts and dashboard use only exported metrics, and promtool accepts them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chat_server.observability.metrics.table import METRICS
from support.log_files.promql import PromSelector, parse_promql
from support.processes.scrape import Scrape, free_port, http_get

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "ops" / "deploy"
ALERTS = (DEPLOY / "prometheus-alerts.yml").read_text()
RULE_TESTS = (DEPLOY / "prometheus-alerts.test.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PAGE = ROOT / "docs" / "operations.md"
FROM_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}

Tool = Callable[[str], str]


def alerts() -> Iterator[tuple[str, str]]:
    """Return (name, expression) of each alert."""
    return zip(
        re.findall(r"^      - alert: (\w+)$", ALERTS, re.MULTILINE),
        re.findall(r"^        expr: (.+)$", ALERTS, re.MULTILINE),
        strict=True,
    )


def panels() -> Iterator[tuple[str, str]]:
    """Return (title, expression) of each query of the dashboard, as it is without its variables."""
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], _without_variables(note["expr"])
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], _without_variables(target["expr"])


def _without_variables(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def missing(selector: PromSelector, scrape: Scrape) -> str:
    """Return what the server does not export of that which is asked for."""
    if selector.metric == "up":
        return ""
    labels = [dict(found) for name, found in scrape.series if name == selector.metric]
    if not labels:
        return selector.metric
    for label, operator, value in selector.matchers:
        if label in FROM_PROMETHEUS:
            continue
        values = {found.get(label) for found in labels}
        wanted = value.split("|") if operator in {"=~", "!~"} else [value]
        unknown = [each for each in wanted if each not in values]
        if unknown:
            return f"{selector.metric}{{{label}={unknown}}}"
    return ""


@pytest.mark.parametrize(("name", "expression"), [*alerts(), *panels()])
def test_every_metric_and_label_is_exported(name: str, expression: str, exported: Scrape) -> None:
    query = parse_promql(expression)
    assert query.selectors, name
    assert [found for one in query.selectors if (found := missing(one, exported))] == []
    of_these = {one.metric for one in query.selectors}
    labels = {label for series, found in exported.series if series in of_these for label, _ in found}
    assert query.grouped <= labels | FROM_PROMETHEUS


def test_what_is_not_exported_is_noticed(exported: Scrape) -> None:
    for wrong in (
        "greenroom_massages_total",
        'greenroom_errors_total{code="forbiden"}',
        'greenroom_errors_total{reason="forbidden"}',
        'greenroom_rtt_seconds_bucket{le="0.3"}',
    ):
        (selector,) = parse_promql(f"rate({wrong}[5m]) > 0").selectors
        assert missing(selector, exported)


def test_every_metric_is_on_the_dashboard_or_means_nothing_over_time() -> None:
    asked = {one.metric for _, expression in panels() for one in parse_promql(expression).selectors}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    left = {row.name for row in METRICS} - shown
    constant = {"greenroom_build_info", "greenroom_epoch_changed", "greenroom_queue_limit_bytes"}
    assert left == {*constant, "greenroom_snapshot_seconds"}


def test_the_dashboard_is_whole() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not places & cells, panel["title"]
        places |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
    legends = {
        label
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    assert legends <= {"instance", "reason", "code", "le"}


def test_every_alert_says_what_to_do() -> None:
    names = [name for name, _ in alerts()]
    assert len(set(names)) == len(names) > 15
    for field in ("summary: ", "description: ", "runbook: ", "severity: "):
        assert ALERTS.count(field) == len(names), field
    assert re.findall(r"runbook: (.+)", ALERTS) == [f"docs/operations.md#{name.lower()}" for name in names]
    assert re.findall(r"^### (Greenroom\w+)$", PAGE.read_text(), re.MULTILINE) == names
    assert set(re.findall(r"severity: (\w+)", ALERTS)) == {"critical", "warning", "info"}


def test_every_alert_is_tried() -> None:
    assert re.findall(r"^  - name: (Greenroom\w+)$", RULE_TESTS, re.MULTILINE) == [
        name for name, _ in alerts()
    ]


def promtool(tool: Tool, *arguments: str, given: str | None = None) -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments], cwd=DEPLOY, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_accepts_the_alerts(tool: Tool) -> None:
    assert f"{len(list(alerts()))} rules found" in promtool(tool, "check", "rules", "prometheus-alerts.yml")


def test_the_alerts_come_when_they_should_and_not_before(tool: Tool) -> None:
    assert "SUCCESS" in promtool(tool, "test", "rules", "prometheus-alerts.test.yml")


def test_promtool_accepts_the_example_configuration(tool: Tool) -> None:
    assert "is valid" in promtool(tool, "check", "config", "prometheus.yml")


def test_promtool_understands_every_query_of_the_dashboard(tool: Tool, tmp_path: Path) -> None:
    rules = [
        f"      - {{record: 'panel:{number}', expr: {json.dumps(expression)}}}\n"
        for number, (_, expression) in enumerate(panels())
    ]
    path = tmp_path / "rules.yml"
    path.write_text("groups:\n  - name: dashboard\n    rules:\n" + "".join(rules))
    assert f"{len(rules)} rules found" in promtool(tool, "check", "rules", str(path))


def test_promtool_finds_nothing_to_improve_in_the_page(tool: Tool, start_server: Any) -> None:
    port = free_port()
    start_server("--metrics-port", str(port), "--store", "memory")
    page = http_get(port, "/metrics").body
    assert list(text_string_to_metric_families(page))
    assert promtool(tool, "check", "metrics", given=page) == ""

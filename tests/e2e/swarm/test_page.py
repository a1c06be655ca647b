"""Locust's web UI with the swarm: a run is started, watched, stopped and its report read over HTTP."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from chat_swarm.locust_plugin.options import OPTIONS
from chat_swarm.model.metric_names import METRIC_BY_NAME
from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import SwarmProcess, free_port

BOTS = 12


class Page:
    """Locust's web UI, used as by a browser."""

    def __init__(self, swarm: SwarmProcess, port: int, server_port: int) -> None:
        self.swarm = swarm
        self.root = f"http://127.0.0.1:{port}"
        self._host = f"127.0.0.1:{server_port}"

    def is_there(self) -> bool:
        assert self.swarm.process.poll() is None, self.swarm.output()
        try:
            return "<html" in self.text("/")
        except urllib.error.URLError:
            return False

    def text(
        self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> str:
        data = None if form is None else urllib.parse.urlencode(form).encode()
        asked = urllib.request.Request(f"{self.root}{path}", data, headers or {})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    def json(self, path: str, form: dict[str, str] | None = None) -> Any:
        return json.loads(self.text(path, form))

    def start(self, **changed: str) -> dict[str, Any]:
        """Submit the form as the page does."""
        form = {one.dest: str(one.default) for one in OPTIONS if one.in_page}
        form |= {one.dest: str(one.default).lower() for one in OPTIONS if isinstance(one.default, bool)}
        form |= {"user_count": str(BOTS), "spawn_rate": "50", "host": self._host}
        form |= {"room_size": "4", "message_rate": "5"}
        answer: dict[str, Any] = self.json("/swarm", form | changed)
        return answer

    def state(self) -> str:
        return str(self.json("/stats/requests")["state"])


@pytest.fixture(scope="module")
def page(arena: ServerProcess, start_swarm: Any) -> Iterator[Page]:
    port = free_port()
    swarm: SwarmProcess = start_swarm("page", arena.port, "--web-port", str(port), headless=False)
    found = Page(swarm, port, arena.port)
    eventually(found.is_there, "the page")
    yield found
    swarm.interrupt()


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_rate": "fast"},
        {"message_rate": "-1"},
        {"slo": "delivery.p99<50"},
        {"chatter_weight": "0"},
        {"host": "127.0.0.1:99999"},
        {"shape": "limit", "slo": ""},
    ],
    ids=str,
)
def test_invalid_form_starts_no_run(page: Page, wrong: dict[str, str]) -> None:
    answer = page.start(**wrong)
    assert answer["success"] is False
    assert answer["message"]
    assert page.state() == "ready"
    assert page.json("/stats/requests")["user_count"] == 0


@pytest.mark.parametrize(("path", "form"), [("/swarm/data", None), ("/swarm", {"user_count": "1"})])
def test_cross_origin_requests_are_refused(page: Page, path: str, form: dict[str, str] | None) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        page.text(path, form, {"Origin": "http://elsewhere.example"})
    assert page.text("/swarm", None, {"Origin": page.root})


def test_run_from_the_form_to_its_report(page: Page) -> None:
    # Given a page that loads nothing from elsewhere
    live = page.text("/swarm")
    assert "<html" in live
    assert "http" not in live.replace("http-equiv", "")
    assert len(page.text("/swarm/plotly.js")) > 1 << 20
    # When the form is sent
    assert page.start()["success"] is True
    # Then the bots start, and Locust's statistics and ours have the same names
    eventually(lambda: page.json("/stats/requests")["user_count"] == BOTS, "all bots")
    eventually(lambda: len(page.json("/swarm/data")["rows"]) > 2, "live figures")
    stats = page.json("/stats/requests")
    names = {one["name"] for one in stats["stats"]} - {"Aggregated"}
    assert names <= set(METRIC_BY_NAME)
    assert names >= {"connect", "login", "delivery", "delivery_response", "ack", "bot_lag", "loop_lag"}
    (tab,) = (one for one in stats["extended_stats"] if one["key"] == "swarm")
    assert {line["metric"] for line in tab["data"]} & names
    data = page.json("/swarm/data")
    assert data["run"]
    assert data["faults"] == 0
    # And it cannot be changed during the run
    assert page.start(message_rate="7")["success"] is False
    # When it is stopped, then it is judged, and its report can be read
    page.text("/stop", {})
    eventually(lambda: page.state() == "stopped", "the stop")
    report = page.text("/swarm/runs/0/report.html")
    assert data["run"] in report
    summary = page.json("/swarm/runs/0/summary.json")
    assert summary["passed"] is True
    assert summary["bots"] == {"ChatterBot": BOTS}
    assert summary["options"]["message_rate"] == 5
    with pytest.raises(urllib.error.HTTPError):
        page.text("/swarm/runs/1/report.html")


def test_second_run_is_independent_of_the_first(page: Page) -> None:
    # Given a finished run with a report
    first = page.json("/swarm/runs/0/summary.json")
    # When another one is made of other bots
    assert page.start(lurker_weight="1", message_rate="2")["success"] is True
    eventually(lambda: page.json("/stats/requests")["user_count"] == BOTS, "all bots")
    eventually(lambda: len(page.json("/swarm/data")["rows"]) > 2, "live figures")
    # And some of them are stopped before its end
    assert page.start(lurker_weight="1", message_rate="2", user_count="4")["success"] is True
    eventually(lambda: page.json("/stats/requests")["user_count"] == 4, "fewer bots")
    page.text("/stop", {})
    eventually(lambda: page.state() == "stopped", "the stop")
    # Then all of its figures are its own, including the bots that were stopped
    second = page.json("/swarm/runs/1/summary.json")
    assert second["run"] != first["run"]
    assert second["passed"] is True
    assert second["errors"] == {}
    assert second["bots"] == {"ChatterBot": BOTS // 2, "LurkerBot": BOTS // 2}
    assert second["scopes"]["all"]["counts"]["logins"] == BOTS == second["peak_connected"]

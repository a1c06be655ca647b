"""The swarm in Locust's web UI: requests over HTTP to a real Locust with synthetic figures."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import pytest

from support.processes.process import BIN_DIR, clean_environment, eventually

_LOCUSTFILE = """
from pathlib import Path
from types import SimpleNamespace

import gevent
from locust import User, events

from chat_swarm.locust_plugin import options, web
from chat_swarm.model.schema import Quantiles, Scope, TimelineRow


class Bot(User):
    abstract = True

    def run(self):
        while True:
            gevent.sleep(60)


for kind in ("ChatterBot", "DirectBot", "LurkerBot", "ChurnBot", "SlowBot"):
    globals()[kind] = type(kind, (Bot,), {"abstract": False})

figures = Quantiles(count=40, mean=1500.0, min=100, p50=1000, p90=2000, p99=3000, p999=4000, max=6000)


class Figures:
    run, running, run_directory = "second", True, Path("runs/second")
    finished = [Path("runs/first")]

    def rows(self, since):
        metrics = {"delivery": figures}
        return [TimelineRow(t=t, unix=t, phase="steady", metrics=metrics) for t in range(since, 5)]

    def scopes(self):
        return {"steady": Scope(seconds=5.0, metrics={"delivery": figures, "bot_lag": figures})}

    def curve(self, metric):
        return [(50.0, 1000), (100.0, 6000)] if metric == "delivery" else []

    def faults(self):
        return {"lost": 3}


events.init_command_line_parser.add_listener(options.add_options)
events.init.add_listener(options.on_init)
events.init.add_listener(lambda environment, **_: web.install(environment, Figures()))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Locust:
    """A running Locust with its page."""

    def __init__(self, folder: Path, *flags: str) -> None:
        (folder / "bots.py").write_text(_LOCUSTFILE)
        (folder / "runs/first").mkdir(parents=True)
        (folder / "runs/first/report.html").write_text("the report")
        (folder / "runs/first/outside").symlink_to(folder / "bots.py")
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._log = folder / "locust.log"
        self._before = 0
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [BIN_DIR / "locust", "-f", "bots.py", "--web-port", str(port), *flags],
                cwd=folder,
                env=clean_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            eventually(self.is_up, "Locust's page")
        except BaseException:
            self.stop()
            raise

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return bool(self.get("/swarm"))
        except OSError:
            return False

    def get(self, path: str) -> str:
        with urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def headers(self, path: str) -> dict[str, str]:
        with urlopen(self.url + path, timeout=10) as answer:
            return dict(answer.headers)

    def ask(self, path: str) -> Any:
        return json.loads(self.get(path))

    def submit(self, **fields: object) -> Any:
        self._before = len(self.spawned())
        form = urlencode({"user_count": 6, "spawn_rate": 100, **fields}).encode()
        with urlopen(f"{self.url}/swarm", form, timeout=10) as answer:
            return json.load(answer)

    def arguments(self) -> Any:
        """Return the arguments of Locust's page; unlike its statistics, they are not cached."""
        return json.loads(self.get("/").split("window.templateArgs = ")[1].split("\n")[0])

    def spawned(self) -> list[str]:
        return re.findall(r"All users spawned: (\{.*\})", self.log())

    def started(self) -> dict[str, int]:
        """Wait until the bots of the last form are up; return class → number."""
        eventually(lambda: len(self.spawned()) > self._before, "all bots")
        eventually(lambda: self.arguments()["state"] == "running", "a run")
        return {kind: number for kind, number in json.loads(self.spawned()[-1]).items() if number}

    def end_run(self) -> None:
        with urlopen(f"{self.url}/stop", b"", timeout=30):
            pass
        eventually(lambda: self.arguments()["state"] in {"stopped", "ready"}, "the end of the run")

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locust]:
    one = Locust(tmp_path_factory.mktemp("alone"))
    yield one
    one.stop()


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locust]:
    port = str(free_port())
    one = Locust(
        tmp_path_factory.mktemp("master"),
        *("--processes", "1", "--master-bind-port", port, "--master-port", port),
    )
    try:
        eventually(lambda: one.ask("/worker-count")["worker_count"] == 1, "the worker")
        yield one
    finally:
        one.stop()


@pytest.fixture(params=["alone", "master"])
def locust(request: pytest.FixtureRequest) -> Locust:
    one: Locust = request.getfixturevalue(request.param)
    return one


class TestPage:
    def test_page_loads_nothing_from_other_hosts(self, alone: Locust) -> None:
        assert "//" not in alone.get("/swarm").replace("<!--", "")
        assert "default-src 'none'" in alone.headers("/swarm")["Content-Security-Policy"]

    @pytest.mark.parametrize("name", ["live.js", "live.css", "report.css", "plotly.js"])
    def test_page_files_are_served(self, alone: Locust, name: str) -> None:
        assert f"swarm/{name}" in alone.get("/swarm")
        assert len(alone.get(f"/swarm/{name}")) > 500

    def test_data_returns_rows_from_since_on(self, alone: Locust) -> None:
        whole = alone.ask("/swarm/data")
        assert [row[0] for row in whole["rows"]] == [0, 1, 2, 3, 4]
        later = alone.ask("/swarm/data?run=second&since=3")
        assert [row[0] for row in later["rows"]] == [3, 4]
        assert later["next"] == 5

    def test_data_lists_reports_of_finished_runs(self, alone: Locust) -> None:
        assert alone.ask("/swarm/data")["reports"] == [{"number": 0, "name": "first"}]
        assert alone.get("/swarm/runs/0/report.html") == "the report"
        assert "connect-src" not in alone.headers("/swarm/runs/0/report.html")["Content-Security-Policy"]

    @pytest.mark.parametrize(
        "path",
        [
            "runs/0/outside",
            "runs/0/../../bots.py",
            "runs/0/%2e%2e/%2e%2e/bots.py",
            "runs/0/.",
            "runs/1/x",
            "web.py",
            "report.js",
        ],
    )
    def test_other_files_are_not_served(self, alone: Locust, path: str) -> None:
        with pytest.raises(HTTPError) as refused:
            alone.get(f"/swarm/{path}")
        assert refused.value.code == 404
        refused.value.close()


class TestTab:
    def test_tab_rows_are_in_locusts_statistics(self, alone: Locust) -> None:
        (tab,) = alone.ask("/stats/requests")["extended_stats"]
        assert tab["key"] == "swarm"
        delivery, bot_lag, audit, generator = tab["data"]
        assert (delivery["metric"], delivery["per_second"], delivery["p999"]) == ("delivery", 8.0, 4.0)
        assert bot_lag["metric"] == "bot_lag"
        assert audit["meaning"] == "3 lost"
        assert "no second marked" in generator["meaning"]

    def test_locusts_index_has_the_tab_and_a_link(self, alone: Locust) -> None:
        page = alone.get("/")
        assert '"extended_tabs": [{"key": "swarm", "title": "Swarm"}]' in page
        assert '<a href="./swarm"' in page


class TestForm:
    def test_form_shows_our_defaults(self, alone: Locust) -> None:
        arguments = alone.arguments()
        assert arguments["num_users"] == 1000
        assert arguments["extra_options"]["shape"]["choices"][:2] == ["none", "ramp"]
        assert arguments["extra_options"]["resumable"]["default_value"] is False
        assert "report" not in arguments["extra_options"], "that is for the command line"
        assert not arguments["missing_host_warning"]

    def test_form_with_invalid_values_is_refused_with_a_sentence(self, locust: Locust) -> None:
        for fields, sentence in (
            ({"room_size": 1}, "--room-size 1 is out of range"),
            ({"room_size": "many"}, "--room-size 'many' is not a whole number"),
            ({"chatter_weight": 0}, "no bots; give one kind a weight over 0"),
            ({"host": "http://x"}, "--host 'http://x' is not an address"),
        ):
            answer = locust.submit(**fields)
            assert answer["success"] is False
            assert sentence in answer["message"]
            assert sentence in locust.log()
        assert locust.arguments()["state"] == "ready"

    def test_form_weights_set_the_bots_of_each_run(self, locust: Locust) -> None:
        for weights, bots in (
            ({"direct_weight": 2}, {"ChatterBot": 2, "DirectBot": 4}),
            ({"chatter_weight": 0, "direct_weight": 0, "slow_weight": 1}, {"SlowBot": 6}),
        ):
            assert locust.submit(**weights)["success"]
            assert locust.started() == bots
            locust.end_run()
        assert "Traceback" not in locust.log()

    def test_form_during_a_run_can_only_change_the_user_count(self, alone: Locust) -> None:
        assert alone.submit(chatter_weight=1, slow_weight=0, room_size=30)["success"]
        assert alone.started() == {"ChatterBot": 6}
        refused = alone.submit(user_count=8, room_size=31)
        assert refused["message"] == "--room-size cannot change during a run: stop it first"
        # Nor can the host: Locust itself would accept it, and go on with the old one
        before = alone.arguments()["host"]
        refused = alone.submit(user_count=8, room_size=30, host="127.0.0.1:7099")
        assert refused["success"] is False
        assert refused["message"] == f"the host (now {before}) cannot change during a run: stop it first"
        assert alone.arguments()["host"] == refused["host"] == before
        assert alone.arguments()["user_count"] == 6
        # Another spelling of the same host is accepted
        assert before.startswith("tcp://")
        assert alone.submit(user_count=8, room_size=30, host=before.removeprefix("tcp://"))["success"]
        eventually(lambda: alone.arguments()["user_count"] == 8, "eight bots")
        assert alone.arguments()["extra_options"]["room_size"]["default_value"] == 30, "as the run has it"
        alone.end_run()


def test_locust_by_default_listens_on_loopback_only(alone: Locust, master: Locust) -> None:
    for one, ports in ((alone, 1), (master, 2)):
        listening = [
            link.laddr.ip
            for link in psutil.Process(one.process.pid).net_connections("inet")
            if link.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"] * ports


@pytest.mark.parametrize("flags", [("--room-size", "1"), ("--room-size", "1", "--processes", "2")])
def test_invalid_command_line_ends_locust_with_one_line(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "bots.py").write_text(_LOCUSTFILE)
    done = subprocess.run(
        [sys.executable, BIN_DIR / "locust", "-f", "bots.py", "--headless", *flags],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "locust: error: --room-size 1 is out of range; give 2 to 1000000\n",
    )

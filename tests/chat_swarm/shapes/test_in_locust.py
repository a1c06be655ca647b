"""Load shapes under Locust itself, in a process of its own, since Locust patches the one it is in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FORM = """
import json, sys
from locust import User, constant, events, task
from locust.env import Environment
import gevent
from chat_swarm.locust_plugin import load_shape
from chat_swarm.model.schema import Scope
from chat_swarm.model.stages import ShapePlan
from chat_swarm.shapes.run_control import Window

class Idle(User):
    @task
    def rest(self):
        gevent.sleep(60)

class RunControl:
    def __init__(self):
        self.steps, self.limit, self.running, self.ticks, self.heard = [], None, False, 0, []
    def elapsed(self):
        # Locust ticks once a second; on a busy machine later, which would leave out the short storm
        self.ticks = self.ticks + 1 if self.running else 0
        return float(self.ticks)
    def set_rate(self, factor):
        self.heard.append(["rate", factor])
    def cut_connections(self, share, spread):
        self.heard.append(["cut", share, spread])
    def set_label(self, text):
        self.heard.append(["label", text])
    def window(self, since, until):
        return Window(figures=Scope())

environment = Environment(user_classes=[Idle], events=events)
runner = environment.create_local_runner()
page = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
run_control = RunControl()
chosen = {"kind": "none", "run_time": 5.0}

@environment.events.test_start.add_listener
def begin(**_):
    run_control.running = True
    run_control.heard.append("begun")

@environment.events.test_stop.add_listener
def end(**_):
    run_control.running = False
    run_control.heard.append("ended")
    placed.finish()

def read():
    return ShapePlan(users=4, spawn_rate=40.0, every=1.9, lasting=0.5, share=0.25, **chosen)

placed = load_shape.install(environment, run_control, read)
client = page.app.test_client()
form = {"user_count": 4, "spawn_rate": 40}

def run(shape, seconds):
    chosen["kind"] = shape
    run_control.heard.clear()
    run_control.steps.clear()
    answer = client.post("/swarm", data={**form, "shape": shape}).get_json()
    with gevent.Timeout(60):
        if seconds:
            gevent.sleep(seconds)
            client.post("/stop")
        while "ended" not in run_control.heard:
            gevent.sleep(0.05)
    steps = [step.label for step in run_control.steps]
    print(json.dumps({"answer": answer, "heard": run_control.heard, "steps": steps}), flush=True)

run("storm", 0)
run("none", 0.3)
"""

BAD = """
from locust import User, events, task
from locust.env import Environment
from chat_swarm.locust_plugin import load_shape
from chat_swarm.model.stages import ShapePlan
environment = Environment(user_classes=[User], events=events)
environment.create_local_runner()
load_shape.install(environment, None, lambda: ShapePlan(kind="burst", lasting=40.0))
"""

LOADTEST = Path(__file__).parents[3] / "loadtest"


def python(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=LOADTEST,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    done = python(FORM)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_shape_chosen_in_the_form_runs_to_its_end(runs: list[dict[str, Any]]) -> None:
    storm = runs[0]
    assert "shape class" in storm["answer"]["message"]
    # The first stage is applied once the run has started, and each stage once, however often Locust ticks
    assert storm["heard"][:3] == ["begun", ["label", "rise"], ["rate", 1.0]]
    assert [entry for entry in storm["heard"] if entry[0] in {"label", "cut"}] == [
        ["label", "rise"],
        ["label", "calm"],
        ["label", "storm 1"],
        ["cut", 0.25, 0.0],
        ["label", ""],
    ]
    assert storm["heard"][-2:] == [["label", ""], "ended"]
    assert storm["steps"][0] == "calm"


def test_form_without_a_shape_runs_plain_locust(runs: list[dict[str, Any]]) -> None:
    assert runs[1]["answer"]["message"] == "Swarming started"
    assert runs[1]["heard"] == ["begun", "ended"]
    assert runs[1]["steps"] == []


def test_invalid_shape_options_exit_with_2() -> None:
    done = python(BAD)
    assert done.returncode == 2
    assert "a burst would never end" in done.stderr

"""What is said of a standstill of all connections, and whose it was."""

import pytest

from chat_swarm.model.schema import Quantiles, ServerLogFigures, SlowDelivery
from chat_swarm.report import page
from chat_swarm.report.terminal_summary import format_summary
from chat_swarm.results import timeline_csv
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.standstills import STANDSTILL_US, standstill_sentences
from support.swarm.synthetic_run import RAMP_S, synthetic_run


def stalled(*standstills_us: int, log: ServerLogFigures | None = None, marked: str = "") -> FinishedRun:
    """Return a run whose first steady seconds end standstills of these lengths."""
    run = synthetic_run(steady=20, samples=200)
    for number, us in enumerate(standstills_us):
        run.rows[RAMP_S + number].standstill_us = us
        run.rows[RAMP_S + number].marked = marked
    run.summary.server_log = log
    return run


def test_nothing_is_said_where_nothing_stalled() -> None:
    assert not list(standstill_sentences(stalled(0, STANDSTILL_US - 1)))


def test_length_time_and_number_are_said() -> None:
    [once] = standstill_sentences(stalled(1_500_000))
    assert once.startswith("All connections stalled once, for 1.50 s until second 10:")
    [twice] = standstill_sentences(stalled(300_000, 1_500_000))
    assert "stalled 2 times, the longest for 1.50 s until second 11:" in twice


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (None, "It was the server or the path to it, not the bots; which of the two"),
        (ServerLogFigures(path="s.log", problem="it cannot be read"), "It was the server or the path to it"),
        (
            ServerLogFigures(path="s.log", lines=3, commit_to_sent=Quantiles(count=9, max=2000)),
            "It was the path: by its own log the server was never later than 2 ms",
        ),
        (
            ServerLogFigures(path="s.log", lines=3, loop_lag_max_us=1_400_000),
            "It was the server: by its own log",
        ),
        (
            ServerLogFigures(path="s.log", lines=3, accept_to_commit=Quantiles(count=9, max=1_400_000)),
            "It was the server: by its own log",
        ),
    ],
)
def test_blame_follows_from_the_servers_log(log: ServerLogFigures | None, said: str) -> None:
    [sentence] = standstill_sentences(stalled(1_500_000, log=log))
    assert said in sentence


def test_generator_that_was_late_itself_blames_nobody_else() -> None:
    log = ServerLogFigures(path="s.log", lines=3)
    [sentence] = standstill_sentences(stalled(1_500_000, log=log, marked="loop lag over 100 ms"))
    assert "may have been this machine" in sentence


def test_timeline_keeps_standstills_and_slowest_deliveries() -> None:
    run = stalled(1_500_000)
    run.rows[3].slowest = SlowDelivery(us=4711, bot="ann", room="hall", seq=9)
    read = timeline_csv.decode(timeline_csv.encode(run.rows))
    assert [row.slowest for row in read] == [row.slowest for row in run.rows]
    assert [row.standstill_us for row in read] == [row.standstill_us for row in run.rows]


def test_timeline_of_an_earlier_version_is_read() -> None:
    rows = synthetic_run(steady=5, samples=200).rows
    new = {"altered", "stray", "slowest_us", "slowest_bot", "slowest_room", "slowest_seq", "standstill_us"}
    text = timeline_csv.encode(rows)
    lines = [line.split(",") for line in text.splitlines()]
    places = [place for place, name in enumerate(lines[0]) if name not in new]
    old = "\n".join(",".join(fields[place] for place in places) for fields in lines)
    assert len(places) == len(lines[0]) - len(new)
    assert timeline_csv.decode(old + "\n") == timeline_csv.decode(text)


def test_servers_process_is_named_with_its_pid_and_command() -> None:
    run = synthetic_run(steady=20, samples=200)
    assert run.summary.server is not None
    run.summary.server.command = "/opt/venv/bin/python3 /opt/venv/bin/chat-server --port 7072"
    shown = f"pid {run.summary.server.pid}: chat-server --port 7072"
    assert shown in format_summary(run)
    assert shown in {tile.note for tile in page.server_tiles(run)}

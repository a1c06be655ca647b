"""Load shapes, small ones: their effect on the run, and their steps in the summary."""

from collections.abc import Iterator
from typing import Any

import pytest

from chat_swarm.model.schema import Step
from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

BOTS = 20
BURST_FACTOR = 4


@pytest.fixture(scope="module")
def stormy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that only the storm's bots use."""
    one = ServerProcess(tmp_path_factory.mktemp("stormy"), "--rate-messages", "0", "--rate-bytes", "0")
    yield one
    assert one.stop() == 0


@pytest.fixture(scope="module")
def shaped(
    arena: ServerProcess, stormy: ServerProcess, search: SwarmProcess, start_swarm: Any
) -> dict[str, FinishedSwarm]:
    load = ("-u", str(BOTS), "-r", "50", "--room-size", "5", "--message-rate", "2", "--shape")
    rhythm = ("--shape-every", "3", "--shape-for", "2", "--shape-factor", str(BURST_FACTOR))
    swarms: dict[str, SwarmProcess] = {
        "limit": search,
        "burst": start_swarm("burst", arena.port, *load, "burst", *rhythm, "-t", "10s"),
        "steps": start_swarm("steps", arena.port, *load, "steps", "--shape-steps", "2", "-t", "6s"),
        "ramp": start_swarm("ramp", arena.port, *load, "ramp", "-t", "5s"),
    }
    storm: SwarmProcess = start_swarm(
        "storm", stormy.port, *load, "storm", "--shape-every", "2", "--shape-share", "0.5"
    )
    back = 3 * BOTS // 2  # of three storms, so that two are over
    eventually(lambda: len(stormy.entries("session_opened", resumed=True)) >= back, "three storms")
    return {"storm": storm.interrupt(), **{name: swarm.wait_finished() for name, swarm in swarms.items()}}


def steps(one: FinishedSwarm, word: str) -> list[Step]:
    return [step for step in one.summary.steps if step.label.startswith(word)]


@pytest.mark.parametrize("name", ["storm", "burst", "steps", "ramp"])
def test_shapes_lose_no_messages(shaped: dict[str, FinishedSwarm], name: str) -> None:
    shaped[name].assert_clean()
    assert shaped[name].summary.shape == name


def test_step_figures_equal_the_sum_of_its_seconds(shaped: dict[str, FinishedSwarm]) -> None:
    for one in shaped.values():
        assert one.summary.steps
        for step in one.summary.steps:
            rows = [row for row in one.run.rows if step.start <= row.t < step.end]
            assert step.figures.counts.get("sent", 0) == sum(row.counts.get("sent", 0) for row in rows)
            assert step.bots <= BOTS


def test_storm_cuts_its_share_and_all_resume(shaped: dict[str, FinishedSwarm]) -> None:
    storm = shaped["storm"]
    # The run may have ended during the last one
    found = [step for step in steps(storm, "storm") if step.end - step.start >= 2]
    assert found
    for step in found:
        assert step.figures.counts["cuts"] == BOTS // 2
        assert step.figures.counts["resumed"] == BOTS // 2
        assert f"{BOTS // 2} cut, {BOTS // 2} resumed" in step.label
    assert storm.count("cuts") == storm.count("resumed") >= len(found) * BOTS // 2
    assert storm.count("not_resumed") == 0
    cuts = storm.count("cuts")
    assert f"cut {cuts} connections; all {cuts} resumed their sessions" in storm.out
    assert 0 < storm.histogram("resume").count <= storm.count("resumed")


def test_burst_multiplies_the_rate(shaped: dict[str, FinishedSwarm]) -> None:
    burst = shaped["burst"]
    (during, *_) = steps(burst, "burst")
    before, *_ = steps(burst, "calm")
    assert (before.rate_factor, during.rate_factor) == (1, BURST_FACTOR)
    ratio = during.figures.rates["sent"] / before.figures.rates["sent"]
    assert BURST_FACTOR / 2 < ratio < BURST_FACTOR * 1.5


def test_capacity_search_finds_where_the_slo_breaks(shaped: dict[str, FinishedSwarm]) -> None:
    limit = shaped["limit"]
    assert limit.code == 0, limit.out
    found = limit.summary.limit
    assert found is not None
    assert (found.by, found.at_least) == ("rate", False)
    assert found.held is not None
    assert found.broke is not None
    assert found.held < found.broke
    assert found.broke > 160  # the rate of all bots in the first step
    held = [step.rate_factor for step in limit.summary.steps if step.held]
    broke = [step.rate_factor for step in limit.summary.steps if step.held is False]
    assert max(held) < min(broke)
    assert "refused=0" in found.why
    assert limit.count("refused") > 0
    assert limit.summary.audit.passed
    assert limit.summary.objective is None


def test_steps_raise_users_evenly(shaped: dict[str, FinishedSwarm]) -> None:
    assert [step.bots for step in shaped["steps"].summary.steps] == [BOTS // 2, BOTS]
    labels = [row.step for row in shaped["steps"].run.rows if row.step]
    assert labels == sorted(labels)
    assert {label.partition(":")[0] for label in labels} == {"step 1 of 2", "step 2 of 2"}


def test_ramp_raises_users_continuously(shaped: dict[str, FinishedSwarm]) -> None:
    bots = [row.bots for row in shaped["ramp"].run.rows if row.phase != "drain"]
    assert bots == sorted(bots)
    assert bots[0] < bots[-1] <= BOTS  # the first second may be partial, with no bots yet
    assert len({*bots}) > 2

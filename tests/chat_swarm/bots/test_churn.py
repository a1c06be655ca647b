"""The accounting of bots that leave and are cut with messages in flight."""

from collections.abc import Iterator

import pytest

from chat_swarm.bots.churn import Churn
from support.swarm.engine_harness import ScriptedServer, SwarmHarness


@pytest.fixture
def churn(scripted_server: ScriptedServer) -> Iterator[Churn]:
    swarm = SwarmHarness(scripted_server.port)
    yield Churn(swarm.process)
    swarm.process.close()


def test_session_lost_with_messages_in_flight_counts_them_as_abandoned(churn: Churn) -> None:
    churn._unacknowledged = {1: "one", 2: "two"}
    churn._drop_session_state()
    assert churn.process.recorder.counts["abandoned"] == 2
    assert churn.count_unacknowledged() == 0


def test_session_lost_after_sending_stopped_leaves_messages_unanswered(churn: Churn) -> None:
    churn._unacknowledged = {1: "one"}
    churn.stop_sending()
    churn._drop_session_state()
    assert churn.process.recorder.counts["abandoned"] == 0

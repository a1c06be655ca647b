"""When a server is of use, and when not."""

from typing import Any

from chat_server.observability.metrics.health import LOOP_BLOCKED_AFTER_S, Health, Phase


class Parts:
    """The ingest, the loop's beat and the clock, all that health looks at."""

    def __init__(self) -> None:
        self.last_error: str | None = None
        self.last_ran_at = self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def serving() -> tuple[Parts, Health]:
    parts: Any = Parts()
    health = Health(parts, parts, parts)
    health.phase = Phase.SERVING
    return parts, health


def test_a_server_is_of_use_from_its_start_to_its_end() -> None:
    parts: Any = Parts()
    health = Health(parts, parts, parts)
    assert health.not_ready_reason() == "the server is starting"
    health.phase = Phase.SERVING
    assert not health.not_ready_reason()
    health.phase = Phase.STOPPING
    assert health.not_ready_reason() == "the server is stopping"


def test_a_store_that_refuses_is_trouble_until_it_takes_a_batch() -> None:
    parts, health = serving()
    parts.last_error = "database is locked"
    assert health.not_ready_reason() == "the message store cannot be written"
    parts.last_error = None
    assert not health.not_ready_reason()


def test_a_store_that_refuses_is_trouble_also_when_nobody_waits_for_it() -> None:
    # Given a store that has refused, so that nothing is queued any more
    parts, health = serving()
    parts.last_error = "disk full"
    assert health.store_failing

    # Then no time makes it well, but a batch that it takes
    parts.now = parts.last_ran_at = 100_000.0
    assert health.not_ready_reason() == "the message store cannot be written"
    parts.last_error = None
    assert not health.not_ready_reason()


def test_a_blocked_loop_is_trouble() -> None:
    parts, health = serving()
    parts.now += LOOP_BLOCKED_AFTER_S + 2
    assert health.not_ready_reason() == "the event loop has not run for 7 s"

"""When a server is ready, and when not."""

from typing import Any

from chat_server.observability.metrics.health import LOOP_BLOCKED_AFTER_S, Health, Phase


class Parts:
    """Ingest, loop lag and clock: everything that health reads."""

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


def test_health_is_ready_only_while_serving() -> None:
    parts: Any = Parts()
    health = Health(parts, parts, parts)
    assert health.not_ready_reason() == "the server is starting"
    health.phase = Phase.SERVING
    assert not health.not_ready_reason()
    health.phase = Phase.STOPPING
    assert health.not_ready_reason() == "the server is stopping"


def test_health_with_failing_store_is_not_ready_until_commit() -> None:
    parts, health = serving()
    parts.last_error = "database is locked"
    assert health.not_ready_reason() == "the message store cannot be written"
    parts.last_error = None
    assert not health.not_ready_reason()


def test_health_with_failing_store_and_empty_queue_is_not_ready() -> None:
    # Given a failed commit, after which nothing is queued
    parts, health = serving()
    parts.last_error = "disk full"
    assert health.store_failing

    # Then only a successful commit makes it ready, however late
    parts.now = parts.last_ran_at = 100_000.0
    assert health.not_ready_reason() == "the message store cannot be written"
    parts.last_error = None
    assert not health.not_ready_reason()


def test_health_with_blocked_loop_is_not_ready() -> None:
    parts, health = serving()
    parts.now += LOOP_BLOCKED_AFTER_S + 2
    assert health.not_ready_reason() == "the event loop has not run for 7 s"


def test_health_with_unreadable_messages_is_ready_and_warns() -> None:
    parts: Any = Parts()
    count = 0
    health = Health(parts, parts, parts, lambda: count)
    health.phase = Phase.SERVING
    assert (health.not_ready_reason(), health.warning()) == ("", "")
    count = 3
    assert health.not_ready_reason() == ""
    assert health.warning() == "3 stored messages cannot be read (row_unreadable in the log)"

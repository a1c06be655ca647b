"""How long a process must be stopped, or a drain last, to exceed the machine's own delays."""

import time

import pytest

from support.processes.peer import NdjsonPeer

ROUND_TRIPS = 30
ROUND_TRIP_INTERVAL_S = 0.02
STALL_PER_ROUND_TRIP = 10
LEAST_STALL_PER_ROUND_TRIP = 4
LONGEST_SERVER_STALL_S = 12.0
"""The runs around a longer one would exceed their time."""
LONGEST_WORKER_STALL_S = 2.0
"""Locust's master drops a worker without a heartbeat for three seconds (its HEARTBEAT_LIVENESS)."""


def stall_s(port: int, *, shortest: float, longest: float) -> float:
    """Return a stall in seconds: ten times the slowest of 30 messages to the server under its load.

    A fixed length cannot be distinguished from the delays of a machine that is busy with something else:
    beside sixteen busy loops, a process waits for its turn as long as it was to be stopped. Where even the
    longest stall would not exceed these delays, the test that needs it is skipped. A drain for all that is
    under way takes as long.
    """
    slowest = 0.0
    with NdjsonPeer(port) as peer:
        peer.hello(rooms=["stall"])
        for _ in range(ROUND_TRIPS):
            start = time.monotonic()
            peer.say("stall", room="stall")
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(ROUND_TRIP_INTERVAL_S)
    if slowest * LEAST_STALL_PER_ROUND_TRIP > longest:
        pytest.skip(f"this machine is too busy: a message takes {slowest:.1f} s, which hides {longest:.0f} s")
    return min(longest, max(shortest, STALL_PER_ROUND_TRIP * slowest))

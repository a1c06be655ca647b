"""How long a process must be stopped so that the stall stands out of the machine's own delays."""

import time

from support.processes.peer import NdjsonPeer

ROUND_TRIPS = 30
ROUND_TRIP_INTERVAL_S = 0.02
STALL_PER_ROUND_TRIP = 10
LONGEST_STALL_S = 12.0
"""Stalls beyond this would take longer than a run may."""


def stall_s(port: int, *, shortest: float) -> float:
    """Return a stall in seconds: ten times the slowest of 30 messages to the server under its load.

    A fixed length cannot be told from the delays of a machine that is busy with something else: beside
    sixteen busy loops, a process waits for its turn as long as it was to be stopped.
    """
    slowest = 0.0
    with NdjsonPeer(port) as peer:
        peer.hello(rooms=["stall"])
        for _ in range(ROUND_TRIPS):
            start = time.monotonic()
            peer.say("stall", room="stall")
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(ROUND_TRIP_INTERVAL_S)
    return min(LONGEST_STALL_S, max(shortest, STALL_PER_ROUND_TRIP * slowest))

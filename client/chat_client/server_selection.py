"""Which of several servers answers quickest.

Measures with a ping before any hello: the server's answer, whatever it says, is a round trip. All are
measured at once, so the time is that of the slowest that answers, at most `timeout`.
"""

import threading
import time
from collections.abc import Sequence

from msgspec import Struct

from chat_client.address import Address
from chat_client.connection.link import Link, dial
from chat_client.errors import ChatError, ConnectionFailed
from chat_protocol.commands import Ping
from chat_protocol.events import Bye

MEASURE_ROUNDS = 3
"""Round trips measured with each; the least counts, as the others have more waiting in them."""


class MeasuredServer(Struct, frozen=True):
    """What came of one server: `rtt_ms` milliseconds, or the `problem`."""

    address: Address
    rtt_ms: float | None = None
    problem: str | None = None


def measure(address: Address, timeout: float) -> MeasuredServer:
    """Return the least of a few round trips to one server, in at most `timeout` seconds each step."""
    try:
        link = dial(address, timeout)
    except ConnectionFailed as error:
        return MeasuredServer(address, problem=str(error))
    try:
        return MeasuredServer(address, min(_round_trip(link, timeout) for _ in range(MEASURE_ROUNDS)))
    except ChatError as error:
        return MeasuredServer(address, problem=f"{address}: {error}")
    finally:
        link.close()


def measure_all(addresses: Sequence[Address], timeout: float = 3.0) -> list[MeasuredServer]:
    """Return what came of each, the quickest first, those that do not answer last."""
    found: list[MeasuredServer] = []
    threads = [
        threading.Thread(target=lambda where=address: found.append(measure(where, timeout)), daemon=True)
        for address in addresses
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found, key=lambda result: (result.rtt_ms is None, result.rtt_ms or 0.0))


def choose_server(results: Sequence[MeasuredServer]) -> MeasuredServer:
    """Return the first of sorted results if it has answered, or raise ConnectionFailed."""
    if not results or results[0].rtt_ms is None:
        problems = "; ".join(result.problem or "" for result in results)
        raise ConnectionFailed(f"no server answers: {problems}")
    return results[0]


def quickest(addresses: Sequence[Address], timeout: float = 3.0) -> MeasuredServer:
    """Return the server that answers quickest, or raise ConnectionFailed if none does."""
    return choose_server(measure_all(addresses, timeout))


def _round_trip(link: Link, timeout: float) -> float:
    began = time.perf_counter_ns()
    link.send(Ping(id="measure"))
    while not (events := link.read(timeout)):
        pass
    for event in events:
        if isinstance(event, Bye):
            raise ConnectionFailed(event.message or event.reason)
    return (time.perf_counter_ns() - began) / 1e6

"""Server selection: round-trip times to several servers, measured in parallel.

Measured by pings before the hello: any answer completes a round trip. The whole takes as long as the slowest
server that answers.
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
"""Round trips per server. The minimum counts: the others contain more queueing."""


class MeasuredServer(Struct, frozen=True):
    """Result for one server: `rtt_ms` in milliseconds, or the `problem` as a sentence."""

    address: Address
    rtt_ms: float | None = None
    problem: str | None = None


def measure(address: Address, timeout: float) -> MeasuredServer:
    """Return the minimum of a few round trips to one server; `timeout` in seconds for each step."""
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
    """Measure the round-trip time to each server, all at once.

    - `addresses`: the servers.
    - `timeout`: seconds for connecting and for each of three round trips (default 3).

    Returns a result for each server, the quickest first and those without an answer last: `address`, `rtt_ms`
    (milliseconds, None without an answer) and `problem` (a sentence, None with an answer). Raises nothing.
    """
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
    """Return the first of sorted results. Raises `ConnectionFailed` if no server has answered."""
    if not results or results[0].rtt_ms is None:
        problems = "; ".join(result.problem or "" for result in results)
        raise ConnectionFailed(f"no server answers: {problems}")
    return results[0]


def quickest(addresses: Sequence[Address], timeout: float = 3.0) -> MeasuredServer:
    """Return the server with the smallest round-trip time.

    - `addresses`: the servers.
    - `timeout`: seconds for connecting and for each of three round trips (default 3).

    Returns its result, as in `measure_all`. Raises `ConnectionFailed` if no server answers.
    """
    return choose_server(measure_all(addresses, timeout))


def _round_trip(link: Link, timeout: float) -> float:
    """Return the milliseconds of one ping and its answer; `timeout` in seconds."""
    began = time.perf_counter_ns()
    link.send(Ping(id="measure"))
    while not (events := link.read(timeout)):
        pass
    for event in events:
        if isinstance(event, Bye):
            raise ConnectionFailed(event.message or event.reason)
    return (time.perf_counter_ns() - began) / 1e6

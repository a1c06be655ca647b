"""A Prometheus scraper for tests."""

import http.client
import socket
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from support.processes.process import TIMEOUT_S

Labels = frozenset[tuple[str, str]]
Series = tuple[str, Labels]


class HttpReply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_get(port: int, path: str, *, method: str = "GET", accept: str = "*/*") -> HttpReply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpReply(response.status, headers, response.read().decode())
    finally:
        connection.close()


class Scrape:
    """The series of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.series: dict[Series, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    @classmethod
    def of(cls, port: int) -> "Scrape":
        reply = http_get(port, "/metrics")
        assert reply.status == 200, reply
        return cls(reply.body)

    def value(self, name: str, **labels: str) -> float:
        return self.series[name, frozenset(labels.items())]

    def counters(self) -> dict[Series, float]:
        """Return the series that never decrease."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }

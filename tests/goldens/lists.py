"""Closed lists that a server shows: metrics, the fields of its log's lines, all names that a log may use."""

import re
from pathlib import Path

from chat_server.vocabulary import COMMON, EVENTS, FIELDS, HISTOGRAMS
from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess, eventually
from support.processes.scrape import free_port, http_get

_FAMILY = re.compile(r"# TYPE (?P<name>\S+) (?P<kind>\S+)")
_SERIES = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? \S+")


def vocabulary(_: Path) -> str:
    """Return the names of events and fields; `chat_server.vocabulary` is public."""
    lines = [f"common: {' '.join(COMMON)}", f"histograms: {' '.join(HISTOGRAMS)}", ""]
    lines += [f"{event}: {' '.join(found.fields)}" for event, found in EVENTS.items()]
    return "\n".join([*lines, "", *FIELDS])


def metrics(folder: Path) -> str:
    """Return each metric's name and type, and all its series."""
    port = free_port()
    server = ServerProcess(folder, "--metrics-port", str(port), "--node", "tower")
    try:
        with NdjsonPeer(server.port) as ann:
            ann.hello("ann")
            ann.say("hi")
            page = http_get(port, "/metrics").body
    finally:
        server.kill()
    lines: list[str] = []
    for line in page.splitlines():
        if found := _FAMILY.fullmatch(line):
            lines.append(f"{found['name']} {found['kind']}")
        elif not line.startswith("#"):
            series = _SERIES.fullmatch(line)
            assert series is not None, line
            labels = re.sub(r'version="[^"]*"', 'version="…"', series["labels"] or "")
            lines.append(f"  {series['name']} {labels}".rstrip())
    return "\n".join(lines)


def log_lines(folder: Path) -> str:
    """Return the fields of each kind of line, in their order."""
    flags = ("--log-messages", "--log-interval", "0.1", "--node", "tower")
    server = ServerProcess(folder, *flags)
    try:
        with NdjsonPeer(server.port) as ann:
            ann.hello("ann")
            ann.say("hi")
            eventually(lambda: server.entries("interval", messages=1), "the interval of the message")
            ann.send_frame("quit")
            ann.expect_bye()
        assert server.stop() == 0
    finally:
        server.kill()
    (interval,) = server.entries("interval", messages=1)
    found = [interval, *(entry for entry in server.entries() if entry["event"] != "interval")]
    # Whether there was time for a ping is chance.
    return "\n".join(
        f"{entry['event']}: {' '.join(key for key in entry if key not in COMMON and 'rtt' not in key)}"
        for entry in found
    )

"""The one table of settings: name, default, kind and range, unit, and the reason for it.

Knows what may be set. Must not know how flags, environment or files are read (settings/load.py does).

A field's name gives its flag (`--rate-messages`), its environment variable (`CHAT_RATE_MESSAGES`) and its
key in the TOML file (`rate-messages` or `rate_messages`). A value is right for as long as the server runs,
unless its row says `reloadable`.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import platformdirs

from chat_protocol import DEFAULT_PORT
from chat_server.settings.spec import Section, Setting, row
from chat_server.settings.value_types import (
    FOLDER,
    HOST,
    OUTPUT,
    STORE,
    SWITCH,
    choice,
    expanded,
    name,
    number,
    seconds,
    size,
    whole,
)

APP: Final = "greenroom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting with its value; `Config()` has the defaults."""

    host: str = row(
        Section.LISTEN,
        "127.0.0.1",
        HOST,
        "who can reach the server: this machine alone, until you choose to let others in "
        "(0.0.0.0 or :: for everyone)",
    )
    port: int = row(
        Section.LISTEN,
        DEFAULT_PORT,
        whole(0, 65535, "any free port"),
        "the one port for every client",
        unit="TCP port",
    )
    workers: int = row(
        Section.LISTEN,
        1,
        whole(
            1,
            1,
            allowed="1 for now (only one worker process so far; it is enough for thousands of people)",
        ),
        "processes that share the port; there is only one so far",
        unit="processes",
    )
    node: str = row(
        Section.LISTEN,
        socket.gethostname,
        name(64),
        "what the server calls itself to clients and in each line of the log",
        shown="this machine's name",
    )
    console: bool = row(Section.LISTEN, False, SWITCH, "take part from this terminal, as the user `server`")
    store: str = row(
        Section.KEEP,
        "",
        STORE,
        "sqlite:////ABSOLUTE/PATH, sqlite:///RELATIVE/PATH or memory: what is in a file outlives a restart, "
        "what is in memory does not",
        shown="greenroom.db in the data folder",
    )
    sync: str = row(
        Section.KEEP,
        "normal",
        choice("normal", "full"),
        "what a power cut may cost: the last second, or nothing with full, at several times the work for "
        "each commit; the death of the program alone costs nothing either way",
    )
    data_dir: Path = row(  # noqa: RUF009  a row is a field
        Section.KEEP,
        lambda: Path(platformdirs.user_data_dir(APP)),
        FOLDER,
        "the folder of the store's file, when --store does not name one",
    )
    memory_messages: int = row(
        Section.KEEP,
        10_000,
        whole(1, 100_000_000),
        "how far history reaches back with --store memory, so that memory stays bounded",
        unit="messages per room",
    )
    retention_messages: int = row(
        Section.KEEP,
        0,
        whole(0, 100_000_000, "no limit"),
        "how many messages a room keeps in the store, so that a disk that is never looked at does not fill; "
        "older ones are deleted, and no seq is given out twice for it",
        unit="messages per room",
    )
    retention_seconds: float = row(
        Section.KEEP,
        0.0,
        seconds(0, 3_153_600_000, "no limit"),
        "how long a message is kept in the store, where what was said must not be kept for ever; a week is "
        "604800",
        unit="seconds",
    )
    store_patience: float = row(
        Section.KEEP,
        5.0,
        seconds(0, 3600),
        "how long a failing store is tried again before senders hear `unavailable`: most trouble is shorter",
        unit="seconds",
    )
    disk_warning_bytes: int = row(
        Section.KEEP,
        2**30,
        size(0, 2**50, "no warning"),
        "free space under which the log warns, while there is still time to act",
        unit="bytes",
    )
    log_file: str = row(
        Section.LOG,
        "",
        OUTPUT,
        "where the log goes: JSON lines in a file or a pipe, colours on a terminal; SIGHUP reopens the file",
        shown="standard output",
    )
    log_level: str = row(
        Section.LOG,
        "info",
        choice("debug", "info", "warning", "error"),
        "the least level that is logged",
    )
    log_messages: bool = row(
        Section.LOG,
        False,
        SWITCH,
        "a line per message (never its text): good for finding a fault, too much under load",
    )
    log_interval: float = row(
        Section.LOG,
        10.0,
        seconds(0.05, 86_400),
        "how often a line sums up what happened: short enough to see a bad minute, long enough to be cheap",
        unit="seconds",
    )
    metrics_port: int = row(
        Section.METRICS,
        0,
        whole(0, 65535, "no metrics"),
        "where Prometheus finds /metrics, and whoever starts and stops servers /healthz and /readyz",
        unit="TCP port",
    )
    metrics_host: str = row(
        Section.METRICS,
        "127.0.0.1",
        HOST,
        "who can read the metrics: this machine alone, since they ask for no password and tell how busy you "
        "are",
    )
    rate_messages: float = row(
        Section.SESSION,
        100.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: far more than people type, and a bot's loop cannot drown a room",
        unit="messages per second",
        reloadable=True,
    )
    rate_messages_burst: int = row(
        Section.SESSION,
        1000,
        whole(1, 100_000_000),
        "what may come at once before the sustained rate holds: a pasted page, a bot's backlog",
        unit="messages",
        reloadable=True,
    )
    rate_bytes: int = row(
        Section.SESSION,
        256 * 2**10,
        size(0, 2**40, "no limit"),
        "sustained rate: few large frames cost as much as many small ones",
        unit="bytes per second",
        reloadable=True,
    )
    rate_bytes_burst: int = row(
        Section.SESSION,
        4 * 2**20,
        size(1, 2**40),
        "what may come at once before the sustained rate holds: 64 frames of the largest size",
        unit="bytes",
        reloadable=True,
    )
    max_rooms: int = row(
        Section.SESSION,
        100,
        whole(1, 1_000_000),
        "rooms one session may be in: each costs memory for as long as it lasts",
        unit="rooms",
        reloadable=True,
    )
    max_conversations: int = row(
        Section.SESSION,
        1000,
        whole(1, 1_000_000),
        "conversations one session may have open: each costs memory for as long as it lasts",
        unit="conversations",
        reloadable=True,
    )
    outbox_bytes: int = row(
        Section.SESSION,
        256 * 2**10,
        size(64 * 2**10, 2**30),
        "what may wait for a slow reader, so that memory for it stays bounded; beyond it, the log feeds the "
        "reader at its own pace",
        unit="bytes",
    )
    max_connections: int = row(
        Section.SERVER,
        0,
        whole(0, 10_000_000, "as many as there are file descriptors, less 64"),
        "how many may be connected; whoever comes after that is told so and closed, never left hanging",
        unit="connections",
        reloadable=True,
    )
    max_connections_per_address: int = row(
        Section.SERVER,
        1000,
        whole(0, 10_000_000, "no limit"),
        "how many may come from one address, and how many names may be held for it, so that none takes every "
        "place; a school behind one router fits",
        unit="connections",
        reloadable=True,
    )
    rate_connections: float = row(
        Section.SERVER,
        100.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: a busy school's worth, and a hundredth of what would keep the server from talking",
        unit="new connections per second and address",
        reloadable=True,
    )
    rate_connections_burst: int = row(
        Section.SERVER,
        2000,
        whole(1, 100_000_000),
        "what may come at once before the sustained rate holds: all of an address coming back after a "
        "restart, twice",
        unit="new connections",
        reloadable=True,
    )
    rate_failed_hellos: float = row(
        Section.SERVER,
        1.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: taken or impossible names and unknown secrets, so that nobody finds out names or "
        "secrets by trying",
        unit="failed hellos per second and address",
        reloadable=True,
    )
    rate_failed_hellos_burst: int = row(
        Section.SERVER,
        20,
        whole(1, 100_000_000),
        "what may fail at once before the sustained rate holds: a class choosing its names",
        unit="failed hellos",
        reloadable=True,
    )
    limit_loopback: bool = row(
        Section.SERVER,
        False,
        SWITCH,
        "hold this machine's own connections to the limits per address too: behind a proxy on this machine "
        "all of them come from one address, so by default they are exempt",
        reloadable=True,
    )
    max_public_rooms: int = row(
        Section.SERVER,
        50_000,
        whole(0, 100_000_000, "no limit"),
        "how many public rooms there may be: each costs memory for as long as it has members or messages, "
        "so nobody may make them without end",
        unit="rooms",
        reloadable=True,
    )
    ingest_bytes: int = row(
        Section.SERVER,
        16 * 2**20,
        size(2**17, 2**36),
        "messages that may wait for the store; beyond it, sockets are not read until it has caught up",
        unit="bytes",
    )
    max_held: int = row(
        Section.SERVER,
        20_000,
        whole(0, 10_000_000, "no limit"),
        "sessions whose names are held while they are away; the oldest give way, so that coming and going "
        "cannot fill the memory",
        unit="sessions",
        reloadable=True,
    )
    ping_interval: float = row(
        Section.TIME,
        30.0,
        seconds(0.05, 3600),
        "how often a client's round trip is measured; one that answers none of two is gone. "
        "Shorter than the minute after which home routers forget a silent connection",
        unit="seconds",
    )
    hello_timeout: float = row(
        Section.TIME,
        60.0,
        seconds(0.05, 3600),
        "how long a connection may stay without a name: it takes a place and gives nothing",
        unit="seconds",
    )
    stalled_timeout: float = row(
        Section.TIME,
        120.0,
        seconds(0.05, 86_400),
        "how long a reader may take no byte of what waits for it before it is given up",
        unit="seconds",
    )
    resume_hold: float = row(
        Section.TIME,
        300.0,
        seconds(0, 86_400),
        "how long the name of a session that may be resumed is held after its connection was cut, or after "
        "the server's next start: a train's tunnel, a restart of the router",
        unit="seconds",
    )
    drain_timeout: float = row(
        Section.TIME,
        2.0,
        seconds(0, 3600),
        "how long a stop waits for clients to take their last bytes",
        unit="seconds",
    )
    reconnect_spread: float = row(
        Section.TIME,
        5.0,
        seconds(0, 3600),
        "at a stop clients are told to come back after a random wait of up to this, so that they do not all "
        "come at once",
        unit="seconds",
    )

    @property
    def store_path(self) -> Path | None:
        """The file that keeps the messages, None when memory does."""
        if self.store == "memory":
            return None
        return expanded(self.store.removeprefix("sqlite:///")) if self.store else self.data_dir / f"{APP}.db"


SETTINGS: Final[Mapping[str, Setting]] = {each.name: each.metadata["setting"] for each in fields(Config)}
"""The table by field name, in the order of `--help`."""

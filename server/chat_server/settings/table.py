"""The table of all settings: name, default, type and range, unit, and the reason for each.

A field's name gives its flag (`--rate-messages`), its environment variable (`CHAT_RATE_MESSAGES`) and its key
in the TOML file (`rate-messages` or `rate_messages`). A setting is fixed while the server runs, unless its
row says `reloadable`: those are read again on SIGHUP.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from chat_protocol import DEFAULT_PORT
from chat_server.settings.spec import Section, Setting, row
from chat_server.settings.user_folders import APP, expanded, user_data_folder
from chat_server.settings.value_types import (
    FOLDER,
    HOST,
    OUTPUT,
    STORE,
    SWITCH,
    choice,
    host_name,
    name,
    number,
    seconds,
    size,
    whole,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting with its value; `Config()` has the defaults."""

    host: str = row(
        Section.LISTEN,
        "127.0.0.1",
        HOST,
        "address to listen on: by default reachable from this machine alone "
        "(0.0.0.0 or :: to accept connections from everywhere)",
    )
    port: int = row(
        Section.LISTEN,
        DEFAULT_PORT,
        whole(0, 65535, "any free port"),
        "port for all clients",
        unit="TCP port",
    )
    workers: int = row(
        Section.LISTEN,
        1,
        whole(
            1,
            1,
            allowed="1 for now (only one worker process so far; it is enough for thousands of users)",
        ),
        "processes that share the port; there is only one so far",
        unit="processes",
    )
    node: str = row(
        Section.LISTEN,
        host_name,
        name(64),
        "name of this server, sent to clients and written in each line of the log",
        shown="this machine's name",
    )
    console: bool = row(Section.LISTEN, False, SWITCH, "chat from this terminal, as the user `server`")
    store: str = row(
        Section.KEEP,
        "",
        STORE,
        "sqlite:////ABSOLUTE/PATH, sqlite:///RELATIVE/PATH or memory: a file survives a restart, memory does "
        "not",
        shown="greenroom.db in the data folder",
    )
    sync: str = row(
        Section.KEEP,
        "normal",
        choice("normal", "full"),
        "what a power loss may cost: the last second with normal, nothing with full, which makes each commit "
        "several times as expensive; a crash of the program alone loses nothing either way",
    )
    data_dir: Path = row(  # noqa: RUF009  a row is a field
        Section.KEEP,
        lambda: user_data_folder() or Path(),
        FOLDER,
        "folder of the store's file, if --store does not name one",
    )
    memory_messages: int = row(
        Section.KEEP,
        10_000,
        whole(1, 100_000_000),
        "length of the history with --store memory, so that memory stays bounded",
        unit="messages per room",
    )
    memory_bytes: int = row(
        Section.KEEP,
        256 * 2**20,
        size(2**20, 2**40),
        "memory of all messages with --store memory; beyond that the oldest are deleted",
        unit="bytes",
    )
    retention_messages: int = row(
        Section.KEEP,
        0,
        whole(0, 100_000_000, "no limit"),
        "retention by count, so that an unattended disk does not fill: older messages of the room are "
        "deleted; their seqs are not reused",
        unit="messages per room",
    )
    retention_seconds: float = row(
        Section.KEEP,
        0.0,
        seconds(0, 3_153_600_000, "no limit"),
        "retention by age, where messages must not be kept for ever; a week is 604800",
        unit="seconds",
    )
    store_patience: float = row(
        Section.KEEP,
        5.0,
        seconds(0, 3600),
        "how long a failing store is retried before senders get `unavailable`: most failures are shorter",
        unit="seconds",
    )
    disk_warning_bytes: int = row(
        Section.KEEP,
        2**30,
        size(0, 2**50, "no warning"),
        "free space below which the log warns, while there is still time to act",
        unit="bytes",
    )
    log_file: str = row(
        Section.LOG,
        "",
        OUTPUT,
        "destination of the log: JSON lines in a file or a pipe, colours on a terminal; SIGHUP reopens the "
        "file",
        shown="standard output",
    )
    log_level: str = row(
        Section.LOG,
        "info",
        choice("debug", "info", "warning", "error"),
        "lowest level that is logged",
    )
    log_messages: bool = row(
        Section.LOG,
        False,
        SWITCH,
        "a line per message (never its text): for debugging, too much under load",
    )
    log_interval: float = row(
        Section.LOG,
        10.0,
        seconds(0.05, 86_400),
        "interval of the summary line: short enough to see a bad minute, long enough to be cheap",
        unit="seconds",
    )
    metrics_port: int = row(
        Section.METRICS,
        0,
        whole(0, 65535, "no metrics"),
        "port of /metrics for Prometheus, and of /healthz and /readyz for service managers",
        unit="TCP port",
    )
    metrics_host: str = row(
        Section.METRICS,
        "127.0.0.1",
        HOST,
        "address of the metrics port: this machine alone by default, since it has no authentication and "
        "shows how busy the server is",
    )
    rate_messages: float = row(
        Section.SESSION,
        100.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: far more than people type, but a bot in a loop cannot flood a room",
        unit="messages per second",
        reloadable=True,
    )
    rate_messages_burst: int = row(
        Section.SESSION,
        1000,
        whole(1, 100_000_000),
        "burst above the sustained rate: a pasted page, a bot's backlog",
        unit="messages",
        reloadable=True,
    )
    rate_bytes: int = row(
        Section.SESSION,
        256 * 2**10,
        size(0, 2**40, "no limit"),
        "sustained rate: a few large frames cost as much as many small ones",
        unit="bytes per second",
        reloadable=True,
    )
    rate_bytes_burst: int = row(
        Section.SESSION,
        4 * 2**20,
        size(1, 2**40),
        "burst above the sustained rate: 64 frames of the largest size",
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
        "bytes queued for a slow reader, so that its memory stays bounded; beyond that, messages are sent "
        "from the log at the pace of the reader",
        unit="bytes",
    )
    max_connections: int = row(
        Section.SERVER,
        0,
        whole(0, 10_000_000, "as many as there are file descriptors, less 64"),
        "connections at once; further ones get `bye` and are closed, never left hanging",
        unit="connections",
        reloadable=True,
    )
    max_connections_per_address: int = row(
        Section.SERVER,
        1000,
        whole(0, 10_000_000, "no limit"),
        "connections from one address, and names held for it, so that no address can take all of them; a "
        "school behind one router fits",
        unit="connections",
        reloadable=True,
    )
    rate_connections: float = row(
        Section.SERVER,
        100.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: enough for a busy school, and a hundredth of the rate that would overload the "
        "server",
        unit="new connections per second and address",
        reloadable=True,
    )
    rate_connections_burst: int = row(
        Section.SERVER,
        2000,
        whole(1, 100_000_000),
        "burst above the sustained rate: twice all connections of an address, reconnecting after a restart",
        unit="new connections",
        reloadable=True,
    )
    rate_failed_hellos: float = row(
        Section.SERVER,
        1.0,
        number(0, 1_000_000, "no limit"),
        "sustained rate: taken or invalid names and unknown secrets, so that neither can be found by "
        "guessing",
        unit="failed hellos per second and address",
        reloadable=True,
    )
    rate_failed_hellos_burst: int = row(
        Section.SERVER,
        20,
        whole(1, 100_000_000),
        "burst above the sustained rate: a school class choosing its names",
        unit="failed hellos",
        reloadable=True,
    )
    rate_address_factor: float = row(
        Section.SERVER,
        4.0,
        number(0, 1_000_000, "no limit"),
        "what all sessions of an address may send together, as a multiple of what one may (--rate-messages, "
        "--rate-bytes and their bursts): a new connection brings no new allowance",
        unit="sessions' allowances per address",
        reloadable=True,
    )
    limit_loopback: bool = row(
        Section.SERVER,
        False,
        SWITCH,
        "apply the limits per address to connections from this machine, too; exempt by default, since "
        "behind a local proxy all connections have one address",
        reloadable=True,
    )
    max_public_rooms: int = row(
        Section.SERVER,
        50_000,
        whole(0, 100_000_000, "no limit"),
        "public rooms: each costs memory, so their number is bounded; when it is reached, the room that has "
        "been without members for longest is deleted for a new one",
        unit="rooms",
        reloadable=True,
    )
    rate_rooms: int = row(
        Section.SERVER,
        1000,
        whole(0, 1_000_000, "no limit"),
        "public rooms made from one address, so that it cannot push out those of others; as many at once",
        unit="rooms per hour and address",
        reloadable=True,
    )
    rate_conversations: int = row(
        Section.SERVER,
        1000,
        whole(0, 1_000_000, "no limit"),
        "conversations begun from one address, and a tenth of it with one user, so that strangers do not "
        "bury a user; as many at once: a class that greets its teacher",
        unit="conversations per hour and address",
        reloadable=True,
    )
    ingest_bytes: int = row(
        Section.SERVER,
        16 * 2**20,
        size(2**17, 2**36),
        "messages that may be queued for the store; beyond that, sockets are not read until it has caught up",
        unit="bytes",
    )
    max_held: int = row(
        Section.SERVER,
        20_000,
        whole(0, 10_000_000, "no limit"),
        "disconnected sessions whose names are held; beyond that the oldest are dropped, so that "
        "reconnecting under new names cannot fill the memory",
        unit="sessions",
        reloadable=True,
    )
    ping_interval: float = row(
        Section.TIME,
        30.0,
        seconds(0.05, 3600),
        "interval of pings; a client that answers neither of two is disconnected. "
        "Shorter than the minute after which home routers drop an idle connection",
        unit="seconds",
    )
    hello_timeout: float = row(
        Section.TIME,
        60.0,
        seconds(0.05, 3600),
        "how long a connection may take to log in with a name: until then it only uses a slot",
        unit="seconds",
    )
    stalled_timeout: float = row(
        Section.TIME,
        120.0,
        seconds(0.05, 86_400),
        "how long a client with queued bytes may read nothing before it is disconnected",
        unit="seconds",
    )
    resume_hold: float = row(
        Section.TIME,
        300.0,
        seconds(0, 86_400),
        "how long the name of a resumable session is held after its connection was lost, or after the "
        "server's next start: a train in a tunnel, a restart of the router",
        unit="seconds",
    )
    drain_timeout: float = row(
        Section.TIME,
        2.0,
        seconds(0, 3600),
        "how long a graceful stop waits for clients to take their last bytes, and to close",
        unit="seconds",
    )
    reconnect_spread: float = row(
        Section.TIME,
        5.0,
        seconds(0, 3600),
        "at a graceful stop, `bye` asks each client to reconnect after a random delay of up to this, so that "
        "they do not all reconnect at once",
        unit="seconds",
    )

    @property
    def needs_data_dir(self) -> bool:
        """Whether anything is stored in the data folder: messages, or the log while the console is used."""
        return not self.store or (self.console and not self.log_file)

    @property
    def store_path(self) -> Path | None:
        """The data file, None with `--store memory`."""
        if self.store == "memory":
            return None
        return expanded(self.store.removeprefix("sqlite:///")) if self.store else self.data_dir / f"{APP}.db"


SETTINGS: Final[Mapping[str, Setting]] = {each.name: each.metadata["setting"] for each in fields(Config)}
"""The table by field name, in the order of `--help`."""

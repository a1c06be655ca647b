"""The log of a real server run with various events, and a log of hostile lines."""

import json
from contextlib import ExitStack
from pathlib import Path

from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess
from support.processes.wire import RawConnection

SERVER_FLAGS = ("--log-messages", "--log-interval", "0.2", "--ping-interval", "1", "--node", "east-1")


def write_real_log(folder: Path) -> Path:
    """Run a server with some messages, an error and a bye; return its log."""
    server = ServerProcess(folder, *SERVER_FLAGS, "--max-connections", "8", log_file=True)
    try:
        with ExitStack() as stack:
            ann, bob, cid = (stack.enter_context(NdjsonPeer(server.port)) for _ in range(3))
            for peer, name in ((ann, "Ann"), (bob, "bob"), (cid, "cid")):
                peer.hello(name)
            for number in range(20):
                ann.say(f"word {number}")
                bob.say(f"to you {number}", to=ann.username)
            for peer in (ann, bob):
                peer.send_frame("pong", id=peer.expect("ping")["id"])
            bob.expect_refusal("join", room="@nobody")
            cid.send_frame("quit")
            cid.expect_bye()
            for _ in range(8):  # more than --max-connections
                stack.enter_context(RawConnection(server.port)).send(b"\n")
            server.wait_logged("connection_refused")
            server.wait_logged("interval", messages=0)
        server.wait_logged("session_closed", username=ann.username)
        assert server.stop() == 0
    finally:
        server.kill()
    return server.log_path


def _line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


LINE_TIME = "2026-11-21T09:30:17.824416Z"
ODD_GOOD_LINES: list[bytes] = [
    _line(
        ts=LINE_TIME,
        event="session_opened",
        node="n",
        username="\x1b[31mred\x1b[0m\u202eevil",
        session_id="s",
    ),
    _line(ts=LINE_TIME, event="from_a_newer_server", node="n", brand_new={"a": [1, 2]}, level="info"),
    b'{"ts":"%s","event":"trimmed","event":"trimmed","node":"n","count":1}'
    % LINE_TIME.encode(),  # a duplicate key
    b'{"ts":"%s","event":"trimmed","node":"n","count":%s}' % (LINE_TIME.encode(), b"9" * 40),
    _line(
        ts=LINE_TIME,
        event="interval",
        node="n",
        closed=[1],
        messages={"a": 1},
        accept_to_commit="no histogram",
    ),
    b'{"ts":"%s","event":"deep","x":%s}' % (LINE_TIME.encode(), b"[" * 3000 + b"]" * 3000),
    b'{"ts":"%s","event":"long","x":"%s"}' % (LINE_TIME.encode(), b"a" * 10_000_000),
    _line(ts="2026-11-21T11:30:17+02:00", event="elsewhere", node="n"),
    _line(ts="2020-01-01T00:00:00Z", event="out_of_order", node="m"),
]
"""Unusual lines that count as log lines."""
_GOOD_LINE = _line(ts=LINE_TIME, event="interval", node="n", messages=1)
BAD_LINES: list[bytes] = [
    _GOOD_LINE[:40],
    _GOOD_LINE + _GOOD_LINE,
    _GOOD_LINE[:30] + _GOOD_LINE,
    b"\x00\x01\x02\xff\xfe",
    b"[1,2]",
    b"17",
    b"null",
    b'"text"',
    b"x" * 10_000_000,
    b'{"ts":"%s","event":"inv\xff\xfe"}' % LINE_TIME.encode(),
    b'{"ts":"%s","event":"half \\ud800"}' % LINE_TIME.encode(),
    _line(ts="not a time", event="x"),
    _line(ts=17, event="x"),
    _line(event="no time"),
    _line(ts=LINE_TIME),
    b'{"ts":"%s","event":"\x00"}' % LINE_TIME.encode(),
]
"""Lines that are not log lines."""
BLANK_LINES = [b"", b"   ", b"\t\r"]


def write_hostile_log(path: Path) -> Path:
    """Write all of them, mixed; the last has no newline."""
    mixed: list[bytes] = []
    for number in range(max(len(ODD_GOOD_LINES), len(BAD_LINES))):
        mixed += [
            *ODD_GOOD_LINES[number : number + 1],
            *BLANK_LINES[number : number + 1],
            *BAD_LINES[number : number + 1],
        ]
    path.write_bytes(b"\n".join(mixed))
    return path

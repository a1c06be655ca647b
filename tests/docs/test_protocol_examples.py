"""docs/protocol.md against the real server: frames are exchanged, scripts run, lists compared.

A fenced block `frames` is a scene with its own server. The words after `frames` are clients that have sent
hello already, and server flags; two comments have effects, too (see `SceneRunner.play`). `ann → …` is sent by
ann, `ann ← …` must be received by ann; a frame may have more fields than shown. Fields that differ from run
to run (ids, times) are compared by type only.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from chat_protocol import DEFAULT_PORT, LOBBY, commands, events
from chat_protocol.errors import NO_RECONNECT_REASONS, ByeReason, ErrorCode
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES

TIMEOUT_S = 30.0  # generous, as the machine may be busy
BIN = Path(sys.executable).parent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
TEXT = PAGE.read_text()

VOLATILE = {"version", "timestamp", "since", "node", "address", "retry_after"}
"""Fields that differ from run to run, beside ids, those in `…_ms`, and `after` in a bye."""
NOISE = {"presence", "ping"}
"""Events with unpredictable timing: skipped where they are not shown."""
TEXT_NOISE = re.compile(r"\* .* (?:joined|left) \S+ \(.* here\)|\* \d+ users? in .*")


CUT = "# the network fails for "


class Block(NamedTuple):
    number: int  # line of the page on which the content begins
    language: str
    words: list[str]
    text: str


def blocks() -> Iterator[Block]:
    for found in re.finditer(r"^```(\S*)(.*)\n((?s:.*?))^```$", TEXT, re.MULTILINE):
        number = TEXT.count("\n", 0, found.start(3)) + 1
        yield Block(number, found[1], found[2].split(), found[3])


BLOCKS = list(blocks())
SCENES = [block for block in BLOCKS if block.language == "frames"]
PROSE = re.sub(r"^```(?s:.*?)^```$", "", TEXT, flags=re.MULTILINE)
LINE = re.compile(r"(?P<name>\w+) (?P<arrow>[→←]) (?P<what>.*)")


class ExampleServer:
    """The real server on its own port."""

    def __init__(self, home: Path, flags: Iterable[str] = ()) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("CHAT_", "XDG_"))}
        self._process = subprocess.Popen(
            [BIN / "chat-server", "--port", "0", "--store", "memory", *flags],
            env=env | {"HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stop_requested = False  # a second signal would force the stop
        assert self._process.stdout is not None
        self._log = self._process.stdout
        entries = map(json.loads, self._log)
        self.port = next(entry["port"] for entry in entries if entry["event"] == "server_started")

    def request_stop(self) -> None:
        self._stop_requested = True
        self._process.terminate()

    def stop(self) -> None:
        if not self._stop_requested:
            self.request_stop()
        self._log.read()  # a full pipe must not block it
        assert self._process.wait(TIMEOUT_S) == 0
        self._log.close()


class ExamplePeer:
    """One connection, line by line."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._file = self._sock.makefile("rb")

    def send(self, line: str) -> None:
        self._sock.sendall(line.encode() + b"\n")

    def line(self) -> str | None:
        """Return the next line, None at the end."""
        line = self._file.readline()
        return line.decode().removesuffix("\n") if line else None

    def hello(self, name: str) -> None:
        self.send(json.dumps({"type": "hello", "username": name}))
        answer = self.line()
        assert answer is not None
        assert json.loads(answer)["type"] == "welcome", answer

    def hear(self, text: str) -> None:
        """Read until a message with `text`."""
        while (line := self.line()) is not None:
            if json.loads(line).get("message") == text:
                return
        raise AssertionError(f"no message {text!r}")

    def cut(self) -> None:
        """Reset the connection, as when the network fails."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._file.close()
        self._sock.close()


class SceneRunner:
    """Runs one scene."""

    def __init__(self, server: ExampleServer) -> None:
        self._server = server
        self._peers: dict[str, ExamplePeer] = {}
        self._ids: dict[str, str] = {}  # as shown -> in this run

    def peer(self, name: str) -> ExamplePeer:
        if name not in self._peers:
            self._peers[name] = ExamplePeer(self._server.port)
        return self._peers[name]

    def play(self, line: str) -> None:
        if line == "# the server is stopped":
            self._server.request_stop()
        if line.startswith(CUT):
            self._peers.pop(line.removeprefix(CUT)).cut()
        if not line or line.startswith("#"):
            return
        found = LINE.fullmatch(line)
        assert found, "neither a frame nor a comment"
        peer, what = self.peer(found["name"]), found["what"]
        if found["arrow"] == "→":
            for shown, real in self._ids.items():
                what = what.replace(f'"{shown}"', f'"{real}"')
            peer.send(what)
        else:
            self._expect(peer, what)

    def _expect(self, peer: ExamplePeer, what: str) -> None:
        skipped = []
        while True:
            line = peer.line()
            wanted = "the connection is closed" if line is None else line
            if self._same(what, wanted):
                return
            noise = line is not None and _is_noise(line)
            skipped.append(line)
            assert noise, "\n".join(["shown:", what, "came:", *map(str, skipped)])

    def _same(self, shown: str, real: str) -> bool:
        if shown.startswith("{") and real.startswith("{"):
            return self._alike(json.loads(shown), json.loads(real))
        return _settled(shown) == _settled(real)

    def _alike(self, shown: Any, real: Any, kind: str | None = None, key: str = "") -> bool:
        if isinstance(shown, dict):
            own = shown.get("type")
            return isinstance(real, dict) and all(
                name in real and self._alike(value, real[name], own, name) for name, value in shown.items()
            )
        if isinstance(shown, list):
            if kind == "presence":  # more may have joined at the same time
                return set(shown) <= set(real)
            return len(shown) == len(real) and all(map(self._alike, shown, real))
        if key == "from" or (key == "id" and kind in {"welcome", "ping"}):
            known = self._ids.setdefault(shown, real) == real
            return known and list(self._ids.values()).count(real) == 1
        if key in {"session", "epoch"} and isinstance(real, str):
            return self._ids.setdefault(shown, real) == real
        if key in VOLATILE or (key, kind) == ("after", "bye") or key.endswith("_ms"):
            return isinstance(real, (float, int)) if isinstance(shown, float) else type(shown) is type(real)
        return bool(shown == real)

    def close(self) -> None:
        for peer in self._peers.values():
            peer.close()


def _is_noise(line: str) -> bool:
    if not line.startswith("{"):
        return bool(TEXT_NOISE.fullmatch(line))
    event = json.loads(line)
    if "type" in event:
        return event["type"] in NOISE
    return event["username"] == "server" and bool(TEXT_NOISE.fullmatch(f"* {event['message']}"))


def _settled(line: str) -> str:
    """Return a line of text with the parts that differ from run to run replaced."""
    return re.sub(r"guest-\w{4}", "guest-XXXX", re.sub(r"^\[\d\d:\d\d\]", "[00:00]", line))


@contextlib.contextmanager
def running(home: Path, flags: Iterable[str] = ()) -> Iterator[ExampleServer]:
    server = ExampleServer(home, flags)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"line-{scene.number}")
def test_the_server_answers_as_the_page_shows(scene: Block, tmp_path: Path) -> None:
    flags = [word for word in scene.words if word.startswith("--")]
    with running(tmp_path, flags) as server, contextlib.closing(SceneRunner(server)) as stage:
        for name in scene.words:
            if name not in flags:
                stage.peer(name).hello(name)
        for offset, line in enumerate(scene.text.splitlines()):
            try:
                stage.play(line)
            except AssertionError as error:
                raise AssertionError(f"{PAGE.name}, line {scene.number + offset}: {line}\n{error}") from None


def test_every_frame_is_in_a_tested_block() -> None:
    assert SCENES
    assert {block.language for block in BLOCKS} == {"frames", "python", "bash"}
    assert '{"' not in PROSE
    for scene in SCENES:  # at least an answer to the last frame
        assert "←" in scene.text.splitlines()[-1], f"line {scene.number}"


def _shown(arrow: str) -> set[str]:
    shown = set()
    for scene in SCENES:
        for line in scene.text.splitlines():
            found = LINE.fullmatch(line)
            if found and found["arrow"] == arrow and found["what"].startswith('{"type"'):
                with contextlib.suppress(json.JSONDecodeError):  # one is broken on purpose
                    shown.add(json.loads(found["what"])["type"])
    return shown


EVENTS = {
    str(kind.__struct_config__.tag): {field.encode_name for field in msgspec.structs.fields(kind)}
    for kind in events.WireEvent.__args__
}


def test_every_command_and_event_is_shown() -> None:
    assert _shown("→") - {"dance"} == commands.WIRE_TYPES
    assert _shown("←") == set(EVENTS)


def _table(title: str) -> list[list[str]]:
    """Return the rows, by cells, of the first table under a heading."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _first(title: str) -> list[str]:
    return [row[0].strip("| `") for row in _table(title)]


def test_the_lists_are_those_of_the_protocol() -> None:
    assert sorted(_first("Commands")) == sorted(commands.WIRE_TYPES)
    assert sorted(_first("Events")) == sorted(EVENTS)
    assert sorted(_first("Errors")) == sorted(ErrorCode)
    assert sorted(_first("Farewells")) == sorted(ByeReason)


def test_the_fields_are_those_of_the_protocol() -> None:
    wire = {
        str(kind.__struct_config__.tag): {field.encode_name for field in msgspec.structs.fields(kind)}
        for kind in commands.WireCommand.__args__
    }
    for title, kinds in ("Commands", wire), ("Events", EVENTS):
        for row in _table(title):
            kind = row[0].strip("| `")
            named = set(re.findall(r"`(\w+)`", row[1]))
            assert named - {"ref"} == kinds[kind] - {"ref"}, kind


def test_the_page_says_after_which_farewells_to_stay_away() -> None:
    assert {
        row[0].strip("| `") for row in _table("Farewells") if "stay away" in row[2]
    } == NO_RECONNECT_REASONS


def test_no_name_in_the_page_is_invented() -> None:
    structs = [*vars(events).values(), *vars(commands).values()]
    fields = {
        field.encode_name
        for struct in structs
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct is not msgspec.Struct
        for field in msgspec.structs.fields(struct)
    }
    known = fields | commands.WIRE_TYPES | set(EVENTS) | set(ErrorCode) | set(ByeReason)
    assert {word for word in re.findall(r"`([a-z]+_[a-z_]+)`", PROSE) if word not in known} == set()
    usage = subprocess.run([BIN / "chat-server", "--help"], capture_output=True, text=True, check=True).stdout
    flags = set(re.findall(r"--[a-z][a-z-]+", TEXT))
    assert {flag for flag in flags if f"{flag} " not in usage} == set()


def test_the_numbers_are_those_of_the_protocol() -> None:
    for number in MAX_FRAME_BYTES, MAX_MESSAGE_BYTES:
        assert f"{number:,} bytes" in PROSE
    assert str(DEFAULT_PORT) in PROSE
    assert f"`{LOBBY}`" in PROSE


# The two scripts of the first section


def _script(language: str, port: int) -> str:
    (script,) = (block.text for block in BLOCKS if block.language == language)
    assert str(DEFAULT_PORT) in script
    return script.replace(str(DEFAULT_PORT), str(port))


@contextlib.contextmanager
def script(arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)  # the shell's nc, too
        process.stdout.close()
        process.wait(TIMEOUT_S)


def _prints(process: "subprocess.Popen[str]", *parts: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if all(part in line for part in parts):
            return
    raise AssertionError(f"it ended without printing {parts}")


def test_the_python_script_says_and_hears(tmp_path: Path) -> None:
    with (
        running(tmp_path, ["--ping-interval", "1"]) as server,
        contextlib.closing(ExamplePeer(server.port)) as carol,
    ):
        carol.hello("carol")
        code = _script("python", server.port)
        assert len([line for line in code.splitlines() if line]) == 10
        with script([sys.executable, "-W", "error", "-u", "-c", code]) as python:
            _prints(python, "ann", "hi")
            carol.hear("hi")
            carol.send(r'{"type": "message", "message": "welcome ann \u202e"}')
            _prints(python, "carol", r"'welcome ann \u202e'")
            _wait_for_pongs(carol, "ann", 3)


def _wait_for_pongs(peer: ExamplePeer, name: str, count: int) -> None:
    """Ask for somebody's round trips until so many pings are answered."""
    deadline = time.monotonic() + TIMEOUT_S
    while (line := peer.line()) is not None:
        assert time.monotonic() < deadline
        event = json.loads(line)
        if event["type"] == "ping":
            peer.send(json.dumps({"type": "pong", "id": event["id"]}))
            peer.send(json.dumps({"type": "rtt", "username": name}))
        elif event["type"] == "rtt" and event["samples"] >= count:
            return
    raise AssertionError("the connection was closed")


def test_the_script_for_nc_and_bash_says_and_hears(tmp_path: Path) -> None:
    if shutil.which("nc") is None:
        pytest.skip("there is no nc here")
    with running(tmp_path) as server, contextlib.closing(ExamplePeer(server.port)) as carol:
        carol.hello("carol")
        with script(["bash", "-c", _script("bash", server.port)]) as bash:
            _prints(bash, "bob", "hello from bash")
            carol.hear("hello from bash")
            carol.send('{"type": "message", "message": "welcome bob"}')
            _prints(bash, "carol", "welcome bob")

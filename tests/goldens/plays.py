"""Plays over the wire: a file says what each peer sends, and holds all that came back.

    == name of a scene: flags of its server
    ann → {"type": "hello", "username": "ann"}      what ann sends, with a newline
    ann ← {"type":"welcome",…}                      what comes to her then
    ! restart                                       what else happens: see `Stage.act`

`perform` plays the lines with `→` and `!` and writes down what comes; a golden is a play that comes out as
it was. It waits for as many lines as the file has at that place, so nothing depends on time; lines that
come unasked (pings, and presence) are left out except where a `!` waits for them. What differs from run to
run (ids, times, secrets, ports) is replaced by a word, the same value by the same word, and such a word
that is sent by its value.

Sentences for people are taken out of the lines and returned apart: a `…` is left in their place.
"""

import contextlib
import json
import re
import select
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.processes.process import TIMEOUT_S, ServerProcess

END = "the connection is closed"
NOTHING = "(nothing)"
QUIET_S = 0.4
"""While a play is written: what has not come by then does not come."""

_LINE = re.compile(r"(?P<peer>\w+) (?P<arrow>[→←]) (?P<what>.*)")
_TIMES = re.compile(r"(.*?)(?:  \((\d+) times\))?")
_MACRO = re.compile(r"<(?:hex ([0-9a-f]+)|(.)\*(\d+))>")
_TEXT_NOISE = re.compile(r"\* .* (?:joined|left) \S+ \(.* here\)|\* \d+ users? in .*")
_GUEST = re.compile(r"guest-[a-z0-9]{4}")
_MEASURED = {"last_ms", "min_ms", "p50_ms", "p99_ms", "rtt_ms", "tcp_ms", "samples"}
_SECONDS = {"retry_after", "timestamp", "since"}
_SECRETS = {"id": "ID", "from": "ID", "session": "SECRET", "epoch": "EPOCH"}


class Outcome(NamedTuple):
    """A scene as it came out, and the sentences in it."""

    text: str
    sentences: str


class Scene(NamedTuple):
    """A scene as it is written."""

    name: str
    flags: list[str]
    lines: list[str]


def scenes(text: str) -> Iterator[Scene]:
    """Return the scenes of a play."""
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.rstrip().split("\n")
        name, _, flags = head.partition(":")
        yield Scene(name, flags.split(), lines)


def perform(scene: Scene, folder: Path, *, writing: bool = False) -> Outcome:
    """Play a scene against a server of its own; `writing` takes all that comes, expected or not."""
    server = ServerProcess(folder, "--node", "tower", *scene.flags)
    stage = Stage(server, writing=writing)
    try:
        for line, due in _steps(scene.lines):
            stage.play(line, due)
        stage.leftovers()
    finally:
        stage.close()
        server.kill()
    head = f"== {scene.name}:" + "".join(f" {flag}" for flag in scene.flags)
    return Outcome("\n".join([head, *stage.lines]), "\n".join(stage.sentences))


def _steps(lines: list[str]) -> Iterator[tuple[str, dict[str, int]]]:
    """Return each action of a play, with the number of lines that each client is to receive then."""
    done, due = "", dict[str, int]()
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or found["arrow"] == "→":
            yield done, due
            done, due = line, {}
        else:
            times = _TIMES.fullmatch(found["what"])
            assert times is not None
            due[found["peer"]] = due.get(found["peer"], 0) + int(times[2] or 1)
    yield done, due


class NdjsonPeer:
    """A connection, line by line; None is its end."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""
        self._ended = False

    def next(self, wait_s: float) -> str | None:
        """Return the next line; TimeoutError where none comes in so many seconds."""
        deadline = time.monotonic() + wait_s
        while b"\n" not in self._held:
            if self._ended:
                rest, self._held = self._held, b""
                return rest.decode() or None
            if not select.select([self.sock], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            with contextlib.suppress(ConnectionResetError):
                data = self.sock.recv(1 << 16)
                self._held += data
                self._ended = not data
        if self._held.startswith(b"\xff"):  # an answer of telnet
            answer, self._held = self._held[:3], self._held[3:]
            return f"<hex {answer.hex()}>"
        line, _, self._held = self._held.partition(b"\n")
        return line.decode()

    def cut(self) -> None:
        """End as when the network fails."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Stage:
    """Where a scene is played: the server, the peers, and what is written down."""

    def __init__(self, server: ServerProcess, *, writing: bool) -> None:
        self.lines: list[str] = []
        self.sentences: list[str] = []
        self._server = server
        self._writing = writing
        self._wait_s = TIMEOUT_S
        self._peers: dict[str, NdjsonPeer] = {}
        self._locks: list[sqlite3.Connection] = []
        self._words: dict[str, str] = {}  # by value
        self._passed: dict[str, list[str]] = {}  # what came unasked and was left out

    def play(self, line: str, due: dict[str, int]) -> None:
        """Do what a line says, and write it down with all that comes of it."""
        if line:
            self.lines.append(line)
        found = _LINE.fullmatch(line)
        if found is not None:
            self._send(found["peer"], found["what"])
        elif line.startswith("! "):
            self.act(*line.split()[1:])
            if line.startswith("! await ") and (name := line.split()[2]) in due:
                due[name] -= 1
        if self._writing:
            time.sleep(QUIET_S)
            self.leftovers()
        else:
            for name, number in due.items():
                self._write(name, self._some(name, number))

    def act(self, verb: str, *words: str) -> None:
        """Do what is not sent: the verbs are the methods whose names begin with `do_`."""
        act: Callable[..., None] = getattr(self, f"do_{verb}")
        act(*words)

    def do_connect(self, name: str) -> None:
        """Connect without a word."""
        self._peer(name)

    def do_cut(self, name: str) -> None:
        """Cut a connection, as when the network fails."""
        self._peers.pop(name).cut()

    def do_shut(self, name: str) -> None:
        """Send no more, as `nc -N` does."""
        self._peers[name].sock.shutdown(socket.SHUT_WR)

    def do_await(self, name: str, kind: str) -> None:
        """Wait for an event that comes unasked, or for a line of text that has this word."""
        while True:
            passed = self._passed.get(name)
            line = passed.pop(0) if passed else self._peers[name].next(TIMEOUT_S)
            assert line is not None, f"{name} waits for {kind}"
            if kind in ({json.loads(line)["type"]} if line.startswith('{"type"') else line.split()):
                self._write(name, [line])
                return

    def do_repeat(self, times: str, name: str, *what: str) -> None:
        """Send a line so many times."""
        self._send(name, "\n".join([" ".join(what)] * int(times)))

    def do_lock(self, name: str) -> None:
        """Lock a file of the server's data until the end of the scene, as another program would."""
        lock = sqlite3.connect(self._server.data / name, isolation_level=None, timeout=TIMEOUT_S)
        self._locks.append(lock)
        lock.execute("BEGIN IMMEDIATE")

    def do_stop(self) -> None:
        """Stop the server in order, without waiting for it."""
        self._server.process.terminate()

    def do_restart(self) -> None:
        """Start the server again; all connections are gone."""
        assert self._server.wait_exit() in {0, -9}
        for name in list(self._peers):
            self._peers.pop(name).cut()
        self._server.start()

    def do_kill(self) -> None:
        """End the server as a loss of its process does."""
        self._server.kill()

    def leftovers(self) -> None:
        """Write down what came beyond all that was waited for."""
        for name in list(self._peers):
            self._write(name, self._all(name))

    def close(self) -> None:
        for peer in self._peers.values():
            peer.sock.close()
        for lock in self._locks:
            lock.close()

    def _peer(self, name: str) -> NdjsonPeer:
        if name not in self._peers:
            self._peers[name] = NdjsonPeer(self._server.port)
        return self._peers[name]

    def _send(self, name: str, what: str) -> None:
        for value, word in self._words.items():
            what = what.replace(word, value)
        end = "" if what.endswith("\\") else "\n"
        data = _MACRO.sub(
            lambda found: found[2] * int(found[3]) if found[2] else found[0], what.removesuffix("\\")
        )
        raw = b"".join(
            bytes.fromhex(part) if number % 2 else part.encode()
            for number, part in enumerate(re.split(r"<hex ([0-9a-f]+)>", data))
        )
        with contextlib.suppress(ConnectionError):  # what comes back says why
            self._peer(name).sock.sendall(raw + end.encode())

    def _some(self, name: str, number: int) -> list[str]:
        """Return so many lines; once they do not come, do not wait as long again."""
        came: list[str] = []
        while len(came) < number:
            try:
                line = self._peer(name).next(self._wait_s)
            except TimeoutError:
                self._wait_s = 1.0
                return [*came, NOTHING]
            if line is None:
                self._peers.pop(name).sock.close()
                return [*came, END]
            if not self._unasked(name, line):
                came.append(line)
        return came

    def _all(self, name: str) -> list[str]:
        """Return what has come by now."""
        came = []
        with contextlib.suppress(TimeoutError):
            while (line := self._peers[name].next(0.0)) is not None:
                if not self._unasked(name, line):
                    came.append(line)
            self._peers.pop(name).sock.close()
            came.append(END)
        return came

    def _unasked(self, name: str, line: str) -> bool:
        found = _is_noise(line)
        if found:
            self._passed.setdefault(name, []).append(line)
        return found

    def _write(self, name: str, came: list[str]) -> None:
        last, times = "", 0
        for line in map(self._settled, came):
            if line == last:
                times += 1
                self.lines.pop()
            else:
                last, times = line, 1
            self.lines.append(f"{name} ← {line}" + (f"  ({times} times)" if times > 1 else ""))

    # What is written down of a line

    def _settled(self, line: str) -> str:
        if line.startswith("{"):
            frame = self._walk(json.loads(line))
            kind = frame.get("type")
            own = kind in {"error", "bye"} or (kind is None and "timestamp" not in frame)
            if own and "message" in frame:
                frame["message"] = self._apart(frame["message"])
            return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
        line = _GUEST.sub("guest-XXXX", line)
        if line.startswith("* "):
            return f"* {self._apart(line[2:])}"
        return re.sub(r"^\[\d\d:\d\d\] ", "[HH:MM] ", line)

    def _apart(self, sentence: str) -> str:
        sentence = _GUEST.sub("guest-XXXX", sentence)
        sentence = re.sub(r"\d+(\.\d+)?(?= s\))", "N", sentence)
        if sentence not in self.sentences[-1:]:
            self.sentences.append(sentence)
        return "…"

    def _walk(self, value: Any, key: str = "", kind: str = "") -> Any:
        if isinstance(value, dict):
            own = value.get("type", "")
            return {name: self._walk(one, name, own) for name, one in value.items()}
        if isinstance(value, list):
            return [self._walk(one) for one in value]
        if key in _SECRETS and isinstance(value, str) and kind not in {"ping", "pong"}:
            word = _SECRETS[key]
            number = sum(one.startswith(word) for one in self._words.values()) + 1
            return self._words.setdefault(value, f"{word}{number}")
        if key in _MEASURED:
            return "MEASURED"
        if key in _SECONDS or (key, kind) == ("after", "bye"):
            assert isinstance(value, float | int), (key, value)
            return "SECONDS"
        if key == "version":
            return "VERSION"
        if key == "address":
            return str(value).replace(str(self._server.port), "PORT")
        return _GUEST.sub("guest-XXXX", value) if key in {"username", "old"} else value


def _is_noise(line: str) -> bool:
    if not line.startswith("{"):
        return bool(_TEXT_NOISE.fullmatch(line))
    frame = json.loads(line)
    if "type" in frame:
        return frame["type"] in {"presence", "ping"}
    return frame["username"] == "server" and bool(_TEXT_NOISE.fullmatch(f"* {frame['message']}"))

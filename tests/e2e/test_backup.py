"""A backup as in docs/operations.md, from a server under load, has every acknowledged message."""

import re
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import Frame, NdjsonPeer
from support.processes.process import ServerProcess, eventually
from support.processes.wire import ConnectionEnded

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ROOMS = ("lobby", "ops", "dev")


class LoadThread(threading.Thread):
    """Sends continuously, and records the acknowledged messages in order."""

    def __init__(self, server: ServerProcess, name: str, room: str) -> None:
        super().__init__(daemon=True)
        self.room = room
        self.acknowledged: list[tuple[int, str]] = []
        self._peer = NdjsonPeer(server.port)
        self._peer.hello(name)
        if room != "lobby":
            self._peer.ask("join", room=room)
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            text = f"{self._peer.username} {len(self.acknowledged)}"
            try:
                echo = self._peer.say(text, room=self.room)
            except (ConnectionEnded, OSError):  # the server has ended
                return
            self.acknowledged.append((echo["seq"], text))

    def close(self) -> None:
        self._over.set()
        self.join()
        self._peer.close()


def documented(marker: str, **places: str) -> str:
    """Return a command of the page, with paths of the test instead of an installation's."""
    found = re.search(rf"<!-- tested: {marker} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    command = found[1]
    for theirs, ours in places.items():
        assert theirs in command
        command = command.replace(theirs, ours)
    return command


def back_up(server: ServerProcess, folder: Path) -> Path:
    places = {"/var/lib/greenroom": str(server.data), "/var/backups": str(folder)}
    subprocess.run(["sh", "-e", "-c", documented("backup", **places)], check=True)
    return folder / "greenroom.db"


def history(peer: NdjsonPeer, room: str) -> Iterator[Frame]:
    """Return all messages of a room, oldest first."""
    after = 0
    while messages := peer.ask("history", room=room, after=after, limit=100)["messages"]:
        yield from messages
        after = messages[-1]["seq"]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    shelf = tmp_path / "backups"
    shelf.mkdir()
    return shelf


def test_a_backup_under_load_has_every_acknowledged_message(
    start_server: StartServer, connect: Connect, shelf: Path
) -> None:
    # Given a server under continuous load in several rooms
    server = start_server("--rate-messages", "0", "--rate-bytes", "0")
    epoch = server.entries("server_started")[0]["epoch"]
    senders = [LoadThread(server, f"sender{number}", ROOMS[number % len(ROOMS)]) for number in range(6)]
    eventually(lambda: all(len(sender.acknowledged) > 50 for sender in senders), "some messages")

    # When it is backed up meanwhile, and killed a little later
    before = [len(sender.acknowledged) for sender in senders]
    backup = back_up(server, shelf)
    assert back_up(server, shelf) == backup, "another one takes its place"
    after = [len(sender.acknowledged) for sender in senders]
    eventually(
        lambda: all(len(one.acknowledged) > had for one, had in zip(senders, after, strict=True)), "more"
    )
    server.kill()
    for sender in senders:
        sender.close()

    # Then the backup is one intact file, readable by its owner only
    assert [path.name for path in shelf.iterdir()] == ["greenroom.db"]
    assert backup.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(backup)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    # And a server on the backup has everything acknowledged before it
    data = shelf.parent / "restored"
    data.mkdir()
    backup.rename(data / "greenroom.db")
    flags = ("--rate-messages", "0", "--rate-bytes", "0", "--drain-timeout", "0.2")
    restored = start_server("--data-dir", str(data), *flags)
    reader = connect(restored, "reader")
    heads = {}
    for room in ROOMS:
        if room != "lobby":
            reader.ask("join", room=room)
        found = {message["seq"]: message["message"] for message in history(reader, room)}
        heads[room] = max(found)
        assert sorted(found) == list(range(1, heads[room] + 1)), "without a hole"
        for sender, had in zip(senders, before, strict=True):
            if sender.room == room:
                assert {seq: found.get(seq) for seq, _ in sender.acknowledged[:had]} == dict(
                    sender.acknowledged[:had]
                )
                # Later messages are unchanged, or missing
                assert all(found.get(seq, text) == text for seq, text in sender.acknowledged)

    # And it changes its epoch, as seqs may be issued again, and continues after the last one
    assert restored.entries("epoch_changed")
    assert restored.entries("server_started")[0]["epoch"] != epoch
    for room in ROOMS:
        assert reader.say("back again", room=room)["seq"] == heads[room] + 1
    assert restored.stop() == 0
    restored.start()
    assert not restored.entries("epoch_changed"), "once is enough"


def test_the_server_does_not_notice_that_it_is_backed_up(
    start_server: StartServer, connect: Connect, shelf: Path
) -> None:
    server = start_server()
    ann = connect(server, "ann")
    ann.say("before")
    back_up(server, shelf)
    ann.say("after")
    server.kill()
    server.start()
    assert not server.entries("epoch_changed")
    assert [message["message"] for message in history(connect(server, "bob"), "lobby")] == ["before", "after"]


def test_restored_backup_keeps_held_name(start_server: StartServer, connect: Connect, shelf: Path) -> None:
    # Given a resumable session, and a backup
    server = start_server()
    ann = connect(server)
    welcome = ann.hello("ann", resumable=True)
    ann.say("one")
    backup = back_up(server, shelf)
    ann.say("two")
    server.kill()

    # When the backup is restored
    data = shelf.parent / "restored"
    data.mkdir()
    backup.rename(data / "greenroom.db")
    restored = start_server("--data-dir", str(data))
    back = connect(restored)
    known = {"session": welcome["session"], "epoch": welcome["epoch"], "rooms": {"lobby": 2}}
    back.send_frame("hello", username=welcome["username"], resumable=True, resume=known)
    again = back.expect("welcome")
    back.id = again["id"]

    # Then the session has its name, but another epoch, and is not resumed
    assert again["username"] == welcome["username"]
    assert not again["resumed"]
    assert again["epoch"] != welcome["epoch"]
    assert [room["seq"] for room in again["rooms"]] == [1]
    assert back.say("two, once more")["seq"] == 2

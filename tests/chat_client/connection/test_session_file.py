"""The session that is kept in a folder: resumed after a crash, by one client at a time."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat_client import Address, Client, Refused, Unsaved
from chat_client.base.backoff import Backoff
from chat_client.connection.session_file import SessionFile, file_path
from chat_protocol.commands import Resume
from chat_protocol.errors import ErrorCode
from chat_protocol.events import MessageEvent

SERVERS = [Address("chat.example", 7072)]
RESUME = Resume(session="secret", epoch="e", rooms={"lobby": 7})

CRASHING = """
import os, signal, sys
from chat_client import Client
name, address, folder = sys.argv[1:]
client = Client(name, address, reconnect=True, state=folder, timeout=60)
client.connect()
client.join("state-extra")
client.say("from the first", "state-extra")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for sessions that does not exist yet."""
    return tmp_path / "sessions"


def crash(name: str, server: Any, folder: Path) -> None:
    """Run a program that is killed while its client is connected."""
    done = subprocess.run([sys.executable, "-c", CRASHING, name, server.address, folder], check=False)
    assert done.returncode == -signal.SIGKILL


def make(name: str, server: Any, folder: Path, **more: Any) -> Client:
    return Client(name, server.address, reconnect=True, state=folder, timeout=60, **more)


def test_next_start_after_a_crash_resumes_and_gets_what_was_missed(server: Any, folder: Path) -> None:
    crash("state-ann", server, folder)
    with Client("state-bob", server.address, rooms=["lobby", "state-extra"]) as bob:
        bob.say("missed", "lobby")
    with pytest.raises(Refused, match="held for a session that was cut off, and free in") as refused:
        Client("state-ann", server.address).connect()
    assert refused.value.code is ErrorCode.NAME_TAKEN
    assert refused.value.retry_after
    with make("state-ann", server, folder, rooms=["state-more"]) as ann:
        assert ann.welcome.resumed
        assert {"lobby", "state-extra", "state-more"} <= set(ann.joined_rooms)
        while not (isinstance(event := ann.next_event(60), MessageEvent) and event.message == "missed"):
            pass
    assert not list(folder.iterdir()), "the session has ended, and left a file"
    with Client("state-ann", server.address) as free:
        assert free.username == "state-ann"


@pytest.mark.parametrize("end", ["quit", "close"])
def test_end_that_the_server_has_confirmed_removes_the_file(server: Any, folder: Path, end: str) -> None:
    client = make(f"state-{end}", server, folder)
    client.connect()
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    getattr(client, end)()
    assert not list(folder.iterdir())


def test_end_while_the_server_is_down_is_resumed_by_the_next_start(start_server: Any, folder: Path) -> None:
    server = start_server()
    first = make("bot", server, folder, backoff=Backoff(60, 60))
    first.connect()
    server.kill()
    while first.connected:
        first.next_event(60)
    first.close()
    server.start()
    with pytest.raises(Refused, match="held for a session"):
        Client("bot", server.address).connect()
    with make("bot", server, folder) as again:
        assert (again.welcome.resumed, again.id) == (True, first.id)


def test_second_client_does_not_take_the_session_of_a_running_one(server: Any, folder: Path) -> None:
    with make("state-one", server, folder) as first:
        second = make("state-one", server, folder)
        with pytest.raises(Refused, match="is taken; choose another"):
            second.connect()
        second.close()
        assert first.ping() > 0
        assert len(list(folder.iterdir())) == 1


def test_renamed_session_is_resumed_under_its_new_name(start_server: Any, folder: Path) -> None:
    server = start_server()
    first = make("before", server, folder, backoff=Backoff(60, 60))
    first.connect()
    first.rename("after")
    server.kill()
    while first.connected:
        first.next_event(60)
    first.close()
    (path,) = folder.iterdir()
    assert json.loads(path.read_bytes())["username"] == "after"
    server.start()
    with make("before", server, folder) as other, make("after", server, folder) as again:
        assert (other.welcome.resumed, again.welcome.resumed) == (False, True)


def test_session_that_is_over_leads_to_a_new_one(start_server: Any, folder: Path) -> None:
    server = start_server("--store", "memory")
    crash("ann", server, folder)
    server.kill()
    server.start()  # with another epoch
    with make("ann", server, folder) as ann:
        assert not ann.welcome.resumed
        assert ann.say("here").message == "here"


def test_stale_session_is_dropped_when_the_name_is_taken(start_server: Any, folder: Path) -> None:
    server = start_server("--store", "memory")
    crash("ann", server, folder)
    server.kill()
    server.start()
    with Client("ann", server.address):
        client = make("ann", server, folder)
        with pytest.raises(Refused):
            client.connect()
        client.close()
        assert not list(folder.iterdir())


def test_folder_that_cannot_be_used_is_reported_and_the_chat_goes_on(server: Any, folder: Path) -> None:
    file = folder.parent / "a file"
    file.touch()
    with make("state-none", server, file / "folder") as client:
        event = client.next_event(60)
        assert isinstance(event, Unsaved)
        assert "the session cannot be saved in" in event.message
        assert client.say("still").message == "still"


def test_only_resumable_sessions_are_kept(server: Any, folder: Path) -> None:
    with Client("state-plain", server.address, state=folder):
        assert not folder.exists()


def open_file(folder: Path, name: str = "ann") -> SessionFile:
    file = SessionFile.open(folder, SERVERS, name)
    assert file is not None
    return file


def test_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    first = open_file(tmp_path / "new")
    first.save("p", "id", "ann", RESUME)
    assert SessionFile.open(tmp_path / "new", SERVERS, "ANN") is None
    first.close()
    again = open_file(tmp_path / "new")
    saved = again.load()
    assert saved is not None
    assert (saved.username, saved.resume) == ("ann", RESUME)
    again.delete()
    assert not list((tmp_path / "new").iterdir())
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_file_without_a_session_is_not_left(tmp_path: Path) -> None:
    open_file(tmp_path).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"servers": 1}', b"null", b"\0" * 100], ids=repr)
def test_damaged_file_is_no_session(tmp_path: Path, data: bytes) -> None:
    file_path(tmp_path, SERVERS, "ann").write_bytes(data)
    assert open_file(tmp_path).load() is None


def test_save_that_fails_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_file(tmp_path)
    file.save("p", "id", "ann", RESUME)

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.save("p", "id", "ann", Resume(session="other", epoch="e", rooms={}))
    assert len(list(tmp_path.iterdir())) == 1
    file.close()
    saved = open_file(tmp_path).load()
    assert saved is not None
    assert saved.resume == RESUME


def test_renamed_user_has_another_file(tmp_path: Path) -> None:
    file = open_file(tmp_path)
    file.save("p", "id", "ann", RESUME)
    file.save("p", "id", "anna", RESUME)
    assert [path.name for path in tmp_path.iterdir()] == [file_path(tmp_path, SERVERS, "anna").name]
    assert SessionFile.open(tmp_path, SERVERS, "anna") is None
    open_file(tmp_path, "ann").close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("localhost", "127.0.0.1", True),
        ("::1", "LocalHost.", True),
        ("Chat.example", "chat.example", True),
        ("a.example", "b.example", False),
    ],
)
def test_one_server_under_two_names_has_one_file(tmp_path: Path, one: str, other: str, same: bool) -> None:
    paths = {file_path(tmp_path, [Address(host, 7072)], "ann") for host in (one, other)}
    assert (len(paths) == 1) is same
    assert file_path(tmp_path, [Address(one, 1)], "ann") != file_path(tmp_path, [Address(one, 2)], "ann")


def test_interrupt_while_connecting_leaves_no_name_held(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client("state-int", server.address, reconnect=True, timeout=60)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._session, "apply_welcome", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.connect()
    with make("state-watch", server, tmp_path) as other:
        while any(user.username == "state-int" for user in other.who()):
            pass
    with Client("state-int", server.address) as free:  # neither connected nor held
        assert free.username == "state-int"

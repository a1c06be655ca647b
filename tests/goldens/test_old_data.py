"""The server continues a data file that the server at commit 8f3b51b wrote."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from goldens import old_data
from support.processes.peer import Frame, NdjsonPeer
from support.processes.process import ServerProcess

FACTS = json.loads(old_data.FACTS.read_text())
LOBBY_HEAD = old_data.LOBBY_MESSAGES
KITCHEN_HEAD = LOBBY_HEAD // 2
Resume = Callable[..., tuple[NdjsonPeer, Frame]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on a copy of the old data."""
    path = old_data.copy(tmp_path / "old")
    one = ServerProcess(tmp_path, "--store", f"sqlite:///{path}", "--rate-messages", "0")
    yield one
    assert one.stop() == 0, one.stderr_text()
    assert not [entry for entry in one.entries() if entry["level"] not in {"debug", "info"}]


@pytest.fixture
def resume(server: ServerProcess) -> Iterator[Resume]:
    """Let people come back: `resume("ann", lobby=5)` has seen the lobby up to 5."""
    peers = []

    def come_back(user: str, name: str = "", **rooms: int) -> tuple[NdjsonPeer, Frame]:
        peers.append(NdjsonPeer(server.port))
        known = {"session": FACTS[user]["session"], "epoch": FACTS["epoch"], "rooms": rooms}
        peers[-1].id = FACTS[user]["id"]
        welcome = peers[-1].ask("hello", username=name or user, resumable=True, resume=known)
        return peers[-1], welcome

    yield come_back
    for peer in peers:
        peer.close()


def test_the_schema_is_the_one_that_it_had() -> None:
    with closing(sqlite3.connect(f"file:{old_data.DATA / 'greenroom.db'}?immutable=1", uri=True)) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        (pages,) = file.execute("PRAGMA page_size").fetchone()
        (rows,) = file.execute("SELECT count(*) FROM log").fetchone()
    assert (version, pages, rows) == (2, 1024, LOBBY_HEAD + KITCHEN_HEAD + 3)


def test_a_session_is_resumed_where_it_was(resume: Resume) -> None:
    ann, welcome = resume("ann", "Ann-Marie", lobby=LOBBY_HEAD - 2, kitchen=KITCHEN_HEAD)
    assert welcome["resumed"]
    assert (welcome["id"], welcome["epoch"]) == (FACTS["ann"]["id"], FACTS["epoch"])
    assert welcome["username"] == "Ann-Marie"
    heads = {state["room"]: state["seq"] for state in welcome["rooms"]}
    assert heads["lobby"] == LOBBY_HEAD - 2
    assert heads["kitchen"] == KITCHEN_HEAD
    missed = [ann.expect("message", room="lobby") for _ in range(2)]
    assert [(one["seq"], one["message"]) for one in missed] == [
        (LOBBY_HEAD - 1, f"word {LOBBY_HEAD - 2}"),
        (LOBBY_HEAD, f"word {LOBBY_HEAD - 1}"),
    ]


def test_history_is_what_it_was(resume: Resume) -> None:
    ann, _ = resume("ann", "Ann-Marie", lobby=LOBBY_HEAD, kitchen=KITCHEN_HEAD)
    assert ann.ask("history", room="lobby", after=0, limit=3)["messages"] == FACTS["first"]
    newest = ann.ask("history", room="kitchen", limit=2)["messages"]
    assert [(one["seq"], one["message"]) for one in newest] == [
        (KITCHEN_HEAD - 1, f"dish {LOBBY_HEAD - 3}\nwith ünïcode"),
        (KITCHEN_HEAD, f"dish {LOBBY_HEAD - 1}\nwith ünïcode"),
    ]


def test_a_ref_makes_no_second_message_and_seqs_go_on(resume: Resume) -> None:
    ann, _ = resume("ann", "Ann-Marie", lobby=LOBBY_HEAD)
    again = ann.say("something else", ref="a7")
    assert (again["seq"], again["message"], again["again"]) == (8, "word 7", True)
    new = ann.say("new", ref="new")
    assert (new["seq"], "again" in new) == (LOBBY_HEAD + 1, False)


def test_the_conversation_is_still_there(resume: Resume) -> None:
    room = FACTS["conversation"][0]["room"]
    ann, welcome = resume("ann", "Ann-Marie", **{room: 2})
    state: dict[str, Any] = next(one for one in welcome["rooms"] if one["room"] == room)
    assert (state["seq"], state["with"]) == (2, "Bob")
    assert ann.ask("history", room=room)["messages"] == FACTS["conversation"]
    bob, welcome = resume("bob", "Bob", **{room: 1})
    assert welcome["resumed"]
    assert bob.expect("message", room=room)["message"] == "yes?"
    assert ann.say("still here", to="Bob")["seq"] == 3
    assert bob.expect("message", room=room, seq=3)["message"] == "still here"


def test_the_names_are_held(resume: Resume, server: ServerProcess) -> None:
    _, welcome = resume("ann", "Ann-Marie")
    assert welcome["resumed"]
    with NdjsonPeer(server.port) as other:
        assert other.expect_refusal("hello", username="bob") == "name_taken"


def test_a_copy_without_its_mark_begins_a_new_epoch(tmp_path: Path) -> None:
    path = old_data.copy(tmp_path / "old")
    path.with_name("greenroom.db-mark").unlink()
    one = ServerProcess(tmp_path, "--store", f"sqlite:///{path}")
    try:
        assert one.wait_logged("server_started")["epoch"] != FACTS["epoch"]
        assert one.wait_logged("epoch_changed")
        with NdjsonPeer(one.port) as cy:
            cy.send_frame("hello", username="cy", rooms=["lobby"])
            assert cy.expect("welcome")["rooms"][0]["seq"] == LOBBY_HEAD
        assert one.stop() == 0
    finally:
        one.kill()


def test_an_index_that_is_missing_is_made_again(tmp_path: Path) -> None:
    path = old_data.copy(tmp_path / "old")
    path.with_name("greenroom.db-index").unlink()
    one = ServerProcess(tmp_path, "--store", f"sqlite:///{path}")
    try:
        with NdjsonPeer(one.port) as cy:
            cy.send_frame("hello", username="cy", rooms=["lobby"])
            assert cy.expect("welcome")["rooms"][0]["seq"] == LOBBY_HEAD
            assert cy.ask("history", room="lobby", after=0, limit=3)["messages"] == FACTS["first"]
        assert one.stop() == 0
    finally:
        one.kill()

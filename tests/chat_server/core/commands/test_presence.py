from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_protocol.framing.lines import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_user_list_is_of_a_room_or_of_everyone(stage: Stage) -> None:
    ann = stage.enter("ann", "a")
    stage.enter("Bob", "b")
    ann.execute(commands.Who(ref="w"))
    assert ann.receive_one("who") == {
        "type": "who",
        "users": [
            {"username": "ann", "rtt_ms": 0.5, "since": stage.clock.time()},
            {"username": "Bob", "rtt_ms": 0.5, "since": stage.clock.time()},
        ],
        "more": False,
        "ref": "w",
    }
    ann.execute(commands.Who(room="B"))
    page = ann.receive_one("who")
    assert page["room"] == "b"
    assert [user["username"] for user in page["users"]] == ["Bob"]


def test_user_list_of_an_own_conversation_has_both_sides(stage: Stage) -> None:
    ann, _ = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    ann.receive()
    ann.execute(commands.Who(room="@ann,bob"))
    assert [user["username"] for user in ann.receive_one("who")["users"]] == ["ann", "bob"]


def test_user_list_in_pages_skips_sessions_being_stored(stage: Stage) -> None:
    """A page of sessions that have a name and wait for the store must not end the list."""
    ann = stage.enter("ann")
    for number in range(450):
        stage.hub.directory.claim(f"coming{number}")
    for number in range(1000):
        stage.enter(f"n{number:04}" + "é" * 27)
    found: list[str] = []
    more, after = True, None
    while more:
        ann.execute(commands.Who(after=after))
        assert len(ann.lines[-1]) <= MAX_FRAME_BYTES
        page = ann.receive_one("who")
        found += [user["username"] for user in page["users"]]
        more, after = page["more"], page.get("after")
    assert len(found) == 1001
    assert found == sorted(found)


def test_servers_lists_this_server_only(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.hub.address = "127.0.0.1:7072"
    ann.execute(commands.Servers())
    (server,) = ann.receive_one("servers")["servers"]
    assert server == {"node": "test", "address": "127.0.0.1:7072", "clients": 1, "rtt_ms": None}
    stage.hub.record_rtt(2.0)
    stage.hub.record_rtt(4.0)
    stage.hub.record_rtt(9.0)
    ann.execute(commands.Servers())
    assert ann.receive_one("servers")["servers"][0]["rtt_ms"] == 4.0

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol import commands, names
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_server.core.base.limits import Limits
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from support.core_stage.stage import Stage


def test_join_is_answered_with_the_position(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "Garden"), stage.enter("bob")
    ann.send_message(room="Garden")
    stage.commit()
    bob.execute(commands.Join(room="garden", ref="j"))
    assert bob.receive_one("joined") == {"type": "joined", "room": "Garden", "seq": 1, "count": 2, "ref": "j"}
    ann.send_message(room="Garden")
    stage.commit()
    assert bob.receive_one("message")["seq"] == 2
    bob.execute(commands.Join(room="GARDEN"))  # again: answered with the position
    assert bob.receive_one("joined")["seq"] == 2
    ann.send_message(room="Garden")
    stage.commit()
    assert bob.receive_one("message")["seq"] == 3


def test_room_that_was_stored_under_a_name_no_longer_valid_can_be_joined_and_resumed(
    make_stage: type[Stage], tmp_path: Path
) -> None:
    # Given a store with a room whose name was valid once, and a session in it
    engine = open_sqlite(tmp_path / "log.db")
    stage = make_stage(store=engine)
    with pytest.MonkeyPatch.context() as before:
        before.setattr(names, "only_joins", lambda _char: False)
        ann = stage.enter("ann", "Ün\u02cda", resumable=True)
    ann.send_message(room="Ün\u02cda")
    stage.commit()
    (welcome,) = [frame for frame in ann.frames if frame["type"] == "welcome"]
    engine.close()
    # When the server starts again, whose rule rejects it
    engine = open_sqlite(tmp_path / "log.db")
    stage = make_stage(store=engine)
    # Then others join it by any form of its name, and its member resumes
    bob = stage.enter("bob")
    bob.execute(commands.Join(room="ÜN\u02cdA"))
    assert bob.receive_one("joined")["room"] == "Ün\u02cda"
    again = stage.connect()
    place = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"Ün\u02cda": 0})
    again.execute(commands.Hello(username="ann", resume=place))
    assert [state["room"] for state in again.receive_one("welcome")["rooms"]] == ["Ün\u02cda"]
    # And nobody makes another such room
    bob.execute(commands.Join(room="a\u02cdb"))
    assert bob.receive_one("error")["code"] == "name_invalid"
    engine.close()


def test_leave_is_answered_after_own_messages(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "a")
    ann.send_message(room="a", ref="1")
    ann.execute(commands.Leave(room="A", ref="l"))
    message, left = ann.receive()
    assert message["ref"] == "1"
    assert left == {"type": "left", "room": "a", "ref": "l"}
    bob.send_message(room="a")
    stage.commit()
    assert not ann.receive()
    stage.check()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (commands.Leave(room="lobby"), "not_joined"),
        (commands.Leave(room="@ann,bob"), "invalid_field"),
        (commands.Join(room="@ann,bob"), "forbidden"),
        (commands.Join(room="no good"), "name_invalid"),
        (commands.History(room="lobby"), "not_joined"),
        (commands.History(room="a", before=1, after=1), "invalid_field"),
        (commands.Who(room="nowhere"), "no_such_room"),
        (commands.Close(peer="cid"), "no_such_room"),
        (commands.Close(peer="nobody"), "no_such_user"),
        (commands.Open(peer="ann"), "invalid_field"),
        (commands.Rtt(username="nobody"), "no_such_user"),
    ],
)
def test_invalid_room_commands_are_refused(stage: Stage, command: Any, code: str) -> None:
    ann = stage.enter("ann", "a")
    stage.enter("bob", "a")
    stage.enter("cid", "lobby")
    ann.send_message(to="bob")
    stage.commit()
    ann.receive()
    ann.execute(command)
    assert ann.receive_one("error")["code"] == code
    stage.check()


def test_switch_moves_plain_text_to_another_room(stage: Stage) -> None:
    guest, ann = stage.connect(PLAIN_TEXT), stage.enter("ann", "garden", "lobby")
    guest.execute(commands.Arrive())
    guest.send_message("one")
    guest.execute(commands.Switch(room="Garden"))
    guest.send_message("two")
    stage.commit()
    assert [(frame["room"], frame["message"]) for frame in ann.messages()] == [
        ("lobby", "one"),
        ("garden", "two"),
    ]
    assert list(guest.session.memberships) == ["garden"]
    guest.execute(commands.Switch(room="garden"))
    assert list(guest.session.memberships) == ["garden"]
    guest.execute(commands.Switch(room="no good"))
    assert list(guest.session.memberships) == ["garden"]
    stage.check()


def test_switch_at_the_room_limit_succeeds(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0, max_rooms=1))
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    guest.execute(commands.Switch(room="garden"))
    assert list(guest.session.memberships) == ["garden"]


def test_rooms_are_listed_in_pages(stage: Stage) -> None:
    for start in range(0, 1000, 100):
        stage.enter(f"n{start}", *[f"{number:04}" + "é" * 28 for number in range(start, start + 100)])
    ann = stage.enter("ann", "zz")
    ann.send_message(room="zz")
    ann.execute(commands.Leave(room="zz"))  # no member, but a message
    ann.receive()
    found: list[str] = []
    more, after = True, None
    while more:
        ann.execute(commands.Rooms(after=after, ref="r"))
        assert len(ann.lines[-1]) <= MAX_FRAME_BYTES
        page = ann.receive_one("rooms")
        assert page["ref"] == "r"
        found += [room["room"] for room in page["rooms"]]
        more, after = page["more"], page.get("after")
    assert len(found) == 1001
    assert found == sorted(found)
    assert found[-1] == "zz"


# History


def test_history_is_read_forwards_and_backwards(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(1, 11):
        ann.send_message(str(number))
    stage.commit()
    live = {frame["seq"]: frame for frame in ann.receive()}

    def read(**how: int) -> tuple[list[int], bool, int | None, int | None]:
        ann.execute(commands.History(room="LOBBY", ref="h", **how))
        page = ann.receive_one("history")
        assert (page["room"], page["ref"]) == ("lobby", "h")
        assert all(live[one["seq"]] == one | {"type": "message"} for one in page["messages"])
        return [one["seq"] for one in page["messages"]], page["more"], page.get("after"), page.get("before")

    assert read() == ([*range(1, 11)], False, None, None)
    assert read(limit=3) == ([8, 9, 10], True, None, 8)
    assert read(limit=3, before=8) == ([5, 6, 7], True, None, 5)
    assert read(limit=5, before=3) == ([1, 2], False, None, None)
    assert read(limit=3, after=0) == ([1, 2, 3], True, 3, None)
    assert read(limit=3, after=7) == ([8, 9, 10], False, None, None)
    assert read(after=10) == ([], False, None, None)
    assert read(after=99) == ([], False, None, None)
    assert read(before=0) == ([], False, None, None)
    assert read(before=99, limit=1) == ([10], True, None, 10)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.sampled_from([1, 50, 8192]), min_size=1, max_size=60),
    limit=st.integers(1, 500),
    forward=st.booleans(),
    recent=st.integers(0, 30),
)
def test_history_paged_returns_each_message_once(
    make_stage: type[Stage], sizes: list[int], limit: int, *, forward: bool, recent: int
) -> None:
    """From the store and from the tail, in frames that are never too large."""
    stage = make_stage()
    ann = stage.enter("ann")
    for size in sizes[recent:]:
        ann.send_message('"' * size)
    stage.commit()
    ann.execute(commands.Leave(room="lobby"))
    ann.execute(commands.Join(room="lobby"))
    for size in sizes[:recent]:
        ann.send_message('"' * size)
    stage.commit()
    ann.receive()
    found: list[int] = []
    cursor = 0 if forward else None
    more = True
    while more:
        where: dict[str, Any] = {"after" if forward else "before": cursor}
        ann.execute(commands.History(room="lobby", limit=limit, **where))
        assert len(ann.lines[-1]) <= MAX_FRAME_BYTES
        page = ann.receive_one("history")
        seqs = [one["seq"] for one in page["messages"]]
        found = found + seqs if forward else seqs + found
        more, cursor = page["more"], page.get("after" if forward else "before")
    assert found == list(range(1, len(sizes) + 1))


def test_history_with_an_unreadable_store_is_unavailable(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message()
    ann.execute(commands.Leave(room="lobby"))
    ann.execute(commands.Join(room="lobby"))
    ann.receive()
    stage.store.unreadable = True
    ann.execute(commands.History(room="lobby", ref="h"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == ("unavailable", "h")
    stage.store.unreadable = False
    ann.execute(commands.History(room="lobby"))
    assert len(ann.receive_one("history")["messages"]) == 1


def test_history_excludes_messages_not_delivered_yet(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message()
    ann.execute(commands.History(room="lobby"))
    assert ann.receive_one("history")["messages"] == []


def test_history_of_a_closed_conversation_can_be_read(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("psst", to="bob")
    stage.commit()
    bob.execute(commands.Close(peer="ann"))
    for peer in (ann, bob):
        peer.receive()
        peer.execute(commands.History(room="@ANN,bob"))
        assert [one["message"] for one in peer.receive_one("history")["messages"]] == ["psst"]

"""Behaviour common to all dialects: one suite, played in all three.

Real sockets, one real server. All users are in the lobby, the one room that every dialect has.
"""

from collections.abc import Callable

import pytest

from conversations.drivers import Driver
from support.processes.peer import unique_name

Enter = Callable[..., Driver]

DIALECTS = ("ndjson", "simple", "text")
QUERY_DIALECTS = ("ndjson", "text")  # two-field JSON has no commands

each_dialect = pytest.mark.parametrize("dialect", DIALECTS)
each_pair = pytest.mark.parametrize(
    ("speaking", "hearing"), [(one, other) for one in DIALECTS for other in DIALECTS]
)


@each_pair
def test_message_reaches_everyone_and_its_sender(enter: Enter, speaking: str, hearing: str) -> None:
    # Given two users, each with a dialect
    ann, bob = enter("ann", speaking), enter("bob", hearing)

    # When each sends a message
    ann.send(ann.encode_message("good morning"))
    bob.send(bob.encode_message("and to you: ünïcödé, 字, 👍"))

    # Then both receive both messages, the sender too
    for one in (ann, bob):
        one.expect_message(ann.name, "good morning")
        one.expect_message(bob.name, "and to you: ünïcödé, 字, 👍")


def test_dialects_share_one_room_in_one_order(enter: Enter) -> None:
    # Given a user of each dialect
    people = [enter(dialect, dialect) for dialect in DIALECTS]

    # When each has sent a message
    for one in people:
        one.say(f"this is {one.name}")

    # Then all have received all of them, in one order
    said = [(one.name, f"this is {one.name}") for one in people]
    for one in people:
        one.read_all()
        assert [what for what in one.messages if what in said] == said


@each_pair
def test_messages_of_one_sender_keep_their_order(enter: Enter, speaking: str, hearing: str) -> None:
    # Given a user with a hundred messages
    ann, bob = enter("ann", speaking), enter("bob", hearing)
    texts = [f"number {number}" for number in range(100)]

    # When all of them are sent without waiting
    ann.send(b"".join(map(ann.encode_message, texts)))

    # Then everyone receives each of them once, in order
    for one in (ann, bob):
        one.expect_message(ann.name, texts[-1])
        one.read_all()
        assert [text for name, text in one.messages if name == ann.name and text in texts] == texts


@each_dialect
def test_messages_of_two_senders_have_one_order_for_all(enter: Enter, dialect: str) -> None:
    # Given two users that send at the same time, and two listeners of different dialects
    ann, bob = enter("ann", dialect), enter("bob", dialect)
    listeners = [ann, bob, enter("cat", "ndjson"), enter("dan", "text")]

    # When their messages cross
    for number in range(30):
        for one in (ann, bob):
            one.send(one.encode_message(f"turn {number}"))
    for one in listeners:
        for speaker in (ann, bob):
            one.expect_message(speaker.name, "turn 29")

    # Then all receive them in the same order
    turns = [
        [said for said in one.messages if said[0] in {ann.name, bob.name} and "turn" in said[1]]
        for one in listeners
    ]
    assert len(turns[0]) == 60
    assert all(each == turns[0] for each in turns)


@each_pair
def test_name_in_use_is_refused(enter: Enter, speaking: str, hearing: str) -> None:
    # Given a user with a name
    ann = enter("ann", hearing)

    # When another requests it, in capitals
    thief = enter("thief", speaking, named=False)
    thief.name = ann.name.upper()
    if speaking == "ndjson":
        thief.send(f'{{"type": "hello", "username": "{thief.name}"}}\n'.encode())
    elif speaking == "simple":
        thief.send(thief.encode_message("it is me"))
    else:
        thief.send(thief.encode_rename(thief.name))

    # Then the error says that it is taken, and another name is accepted on the same connection
    thief.expect_notice("taken")
    thief.enter(unique_name("honest"))
    ann.say("still me")
    thief.expect_message(ann.name, "still me")
    assert (thief.name, "it is me") not in thief.messages


@each_dialect
@pytest.mark.parametrize("name", ["server", "SERVER", "guest-mine", "with,comma", "@at", "x" * 33, "\u200bx"])
def test_invalid_or_reserved_name_is_refused(enter: Enter, dialect: str, name: str) -> None:
    # Given a user
    ann, bob = enter("ann", dialect), enter("bob", "ndjson")

    # When it requests an invalid or reserved name
    before = len(ann.notices)
    ann.send(ann.encode_rename(name))

    # Then an error says why, and the name is unchanged
    ann.read_all()
    assert any("name" in sentence for sentence in ann.notices[before:])
    ann.say("same as ever")
    bob.expect_message(ann.name, "same as ever")


@each_pair
def test_rename_is_seen_by_others(enter: Enter, speaking: str, hearing: str) -> None:
    # Given two users
    ann, bob = enter("ann", speaking), enter("bob", hearing)

    # When one changes its name
    old, new = ann.name, unique_name("anna")
    ann.send(ann.encode_rename(new))

    # Then the other is notified of both names, and later messages have the new one
    bob.expect_notice(old, new)
    ann.expect_notice(old, new)
    ann.name = new
    ann.say("how do I look?")
    bob.expect_message(new, "how do I look?")


@pytest.mark.parametrize("hearing", DIALECTS)
@pytest.mark.parametrize("speaking", QUERY_DIALECTS)
def test_private_message_is_seen_by_the_two_only(enter: Enter, speaking: str, hearing: str) -> None:
    # Given users of all dialects
    ann, bob = enter("ann", speaking), enter("bob", hearing)
    eves = [enter("eve", dialect) for dialect in DIALECTS]

    # When one sends a private message to another
    ann.send(ann.encode_private(bob.name, "just between us"))

    # Then these two receive it
    for one in (ann, bob):
        one.expect_message(ann.name, "just between us")

    # And the others receive neither the message nor a notice of it
    for eve in eves:
        eve.read_all()
        assert not any("between" in text for _, text in eve.messages)
        assert not any("between" in sentence or "opened" in sentence for sentence in eve.notices)


@pytest.mark.parametrize("dialect", QUERY_DIALECTS)
def test_private_message_to_an_unknown_user_is_refused(enter: Enter, dialect: str) -> None:
    # Given a user
    ann = enter("ann", dialect)

    # When it sends a private message to an unknown name
    ann.send(ann.encode_private("nobody-at-all", "hello?"))

    # Then an error names it
    ann.expect_notice("nobody-at-all")
    ann.read_all()
    assert (ann.name, "hello?") not in ann.messages


@pytest.mark.parametrize("dialect", QUERY_DIALECTS)
def test_lists_of_users_and_rooms_are_shown(enter: Enter, dialect: str) -> None:
    # Given users of every dialect
    ann = enter("ann", dialect)
    others = [enter("other", each) for each in DIALECTS]

    # When one requests the lists of users and rooms
    ann.send(ann.encode_list_users())
    ann.send(ann.encode_list_rooms())

    # Then all users are listed, and the lobby
    ann.expect_notice(ann.name, *(one.name for one in others))
    ann.expect_notice("lobby")

    # And a user that has left is no longer listed
    for one in others:
        ann.expect_notice(one.name, "joined")
    others[0].close()
    ann.expect_notice(others[0].name, "left")
    before = len(ann.notices)
    ann.send(ann.encode_list_users())
    ann.read_all()
    after = "".join(ann.notices[before:])
    assert others[1].name in after
    assert others[0].name not in after


@pytest.mark.parametrize("dialect", QUERY_DIALECTS)
def test_message_in_another_room_stays_there(enter: Enter, dialect: str) -> None:
    # Given a user in another room, and one in the lobby
    ann, bob, cat = enter("ann", dialect), enter("bob", "ndjson"), enter("cat", "text")
    room = unique_name("garden")
    ann.send(ann.encode_join(room))
    ann.expect_notice(room)

    # When a third joins that room and sends a message
    cat.send(cat.encode_join(room))
    cat.say("roses")

    # Then the first receives it, the lobby does not
    ann.expect_message(cat.name, "roses")
    bob.read_all()
    assert (cat.name, "roses") not in bob.messages


@pytest.mark.parametrize("dialect", QUERY_DIALECTS)
def test_quit_acknowledges_earlier_messages_and_ignores_later_ones(enter: Enter, dialect: str) -> None:
    # Given two users
    bob, ann = enter("bob", "ndjson"), enter("ann", dialect)
    bob.expect_notice(ann.name, "joined")

    # When one sends a message, quits, and sends another message, all at once
    ann.send(ann.encode_message("last words") + ann.encode_quit() + ann.encode_message("too late"))

    # Then the first message is acknowledged, the quit is answered, the connection closed
    ann.read_until_closed()
    assert (ann.name, "last words") in ann.messages
    assert "bye" in ann.notices[-1]

    # And the other receives that message and a leave; nothing after the quit counts
    bob.expect_message(ann.name, "last words")
    bob.expect_notice(ann.name, "left")
    assert (ann.name, "too late") not in bob.messages


@pytest.mark.parametrize("word", [b"quit\n", b"  bye \r\n"])
def test_plain_text_bye_and_quit_end_the_session(enter: Enter, word: bytes) -> None:
    ann = enter("ann", "text")
    ann.send(word)
    ann.read_until_closed()
    assert ann.notices[-1] == "good-bye"


@pytest.mark.parametrize(
    ("speaking", "hearing"), [("ndjson", "text"), ("simple", "ndjson"), ("text", "simple")]
)
def test_presence_reports_joins_and_leaves(enter: Enter, speaking: str, hearing: str) -> None:
    # Given a user in the lobby
    bob = enter("bob", hearing)

    # When another joins, and disconnects without a quit
    ann = enter("ann", speaking)
    bob.expect_notice(ann.name, "joined")
    ann.close()

    # Then the first is notified of both
    bob.expect_notice(ann.name, "left")


@each_dialect
def test_name_is_free_after_its_user_has_left(enter: Enter, dialect: str) -> None:
    # Given a user that has left
    bob, ann = enter("bob", "ndjson"), enter("ann", dialect)
    bob.expect_notice(ann.name, "joined")
    ann.close()
    bob.expect_notice(ann.name, "left")

    # When another takes the name, then it is accepted
    heir = enter("heir", dialect, named=False)
    heir.enter(ann.name)
    heir.say("I inherited this")
    bob.expect_message(ann.name, "I inherited this")

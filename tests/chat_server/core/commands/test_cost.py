"""The work of each command, counted in lines of Python: twice the input is at most twice the work.

A quadratic handler stops the loop for everybody. Each command of the router's table has a row here, with what
makes it large: its own fields up to their bounds, and what the server has, such as users, rooms, peers.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from chat_protocol import commands
from chat_protocol.commands import Command
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_protocol.errors import ErrorCode, Fault
from chat_server.core.commands.router import TABLE
from chat_server.core.names import scripts, skeletons
from support.core_stage.moves import cut, hello_again, open_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

Prepared: TypeAlias = "tuple[Peer, Command | Fault]"
Scene: TypeAlias = "Callable[[Stage, int], Prepared]"

SMALL: Final = 24
"""The first size; the others are twice and four times as large."""

COUNTED: Final = ("/server/chat_server/", "/server/chat_protocol/")

_numbers = itertools.count()


def names_of(count: int) -> list[str]:
    """Return new names that are dear to compare: long, and not ASCII."""
    return [f"ж{next(_numbers):06}" + "й\u0301\u0302\u0300" * 5 + "яѩѭ" for _ in range(count)]


def crowd(stage: Stage, count: int, *rooms: str) -> list[Peer]:
    return [stage.enter(f"one{next(_numbers)}", *rooms) for _ in range(count)]


def with_messages(stage: Stage, count: int) -> Peer:
    ann = stage.enter("ann")
    for number in range(count):
        ann.send_message(f"text {number}")
    stage.commit()
    return ann


def with_conversations(stage: Stage, count: int) -> Peer:
    ann = stage.enter("ann", resumable=True)
    for peer in crowd(stage, count):
        open_with(stage, ann, peer.name)
    return ann


def message_to_room(stage: Stage, size: int) -> Prepared:
    return stage.enter("ann"), commands.Message(message="é" * 60 * size, ref="r")


def message_to_user(stage: Stage, size: int) -> Prepared:
    ann = with_conversations(stage, size)
    stage.enter("bob")
    return ann, commands.Message(message="hi", to="bob")


def message_repeated(stage: Stage, size: int) -> Prepared:
    ann = stage.enter("ann")
    for number in range(10 * size):
        ann.send_message(ref=str(number))
    stage.commit()
    return ann, commands.Message(message="hi", ref="0")


def say_under_a_new_name(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann", encoding=TWO_FIELD), commands.Say(username="anna", message="hi")


def hello_with_rooms(stage: Stage, size: int) -> Prepared:
    return stage.connect(), commands.Hello(username="ann", rooms=names_of(size))


def hello_with_one_room_twice(stage: Stage, size: int) -> Prepared:
    names = names_of(size // 2)
    return stage.connect(), commands.Hello(username="ann", rooms=[*names, *(name.upper() for name in names)])


def hello_among_many(stage: Stage, size: int) -> Prepared:
    crowd(stage, size, *(f"r{number}" for number in range(3)))
    return stage.connect(), commands.Hello(username="ann", rooms=["r1"])


def hello_that_resumes(stage: Stage, size: int) -> Prepared:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    return stage.connect(), hello_again(ann, **dict.fromkeys(names_of(size), 0))


def hello_that_resumes_conversations(stage: Stage, size: int) -> Prepared:
    ann = with_conversations(stage, size)
    rooms = {membership.room.name: 0 for membership in ann.session.memberships.values()}
    cut(ann)
    return stage.connect(), hello_again(ann, **rooms)


def hello_that_resumes_closed_conversations(stage: Stage, size: int) -> Prepared:
    ann = with_conversations(stage, size)
    cut(ann)
    for session in list(stage.hub.sessions.values()):
        stage.router.dispatch(session, commands.Message(message="hi", to="ann"))
        stage.commit()
        stage.router.dispatch(session, commands.Close(peer="ann"))
        stage.commit()
    return stage.connect(), hello_again(ann)


def hello_that_names_what_it_may_not(stage: Stage, size: int) -> Prepared:
    ann = stage.enter("ann", resumable=True)
    cut(ann)
    return stage.connect(), hello_again(ann, **{f"@x{number},y": 0 for number in range(40 * size)})


def arrive(stage: Stage, size: int) -> Prepared:
    with_messages(stage, size)
    crowd(stage, size)
    return stage.connect(PLAIN_TEXT), commands.Arrive()


def rename_among_peers(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), commands.Rename(username="anna")


def rename_in_rooms(stage: Stage, size: int) -> Prepared:
    rooms = [f"r{number}" for number in range(size)]
    crowd(stage, 3, *rooms)
    return stage.enter("ann", *rooms), commands.Rename(username=names_of(1)[0])


def quit_with_rooms(stage: Stage, size: int) -> Prepared:
    return stage.enter("ann", *(f"r{number}" for number in range(size))), commands.Quit()


def quit_with_conversations(stage: Stage, size: int) -> Prepared:
    return with_conversations(stage, size), commands.Quit()


def show_help(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann", encoding=PLAIN_TEXT), commands.Help()


def join_with_rooms(stage: Stage, size: int) -> Prepared:
    return stage.enter("ann", *(f"r{number}" for number in range(size - 1))), commands.Join(
        room=names_of(1)[0]
    )


def join_with_conversations(stage: Stage, size: int) -> Prepared:
    return with_conversations(stage, size), commands.Join(room="kitchen")


def join_a_long_name(stage: Stage, size: int) -> Prepared:
    return stage.enter("ann"), commands.Join(room="é" * 600 * size)


def leave(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), commands.Leave(room="lobby")


def switch(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann", encoding=PLAIN_TEXT), commands.Switch(room="kitchen")


def list_rooms(stage: Stage, size: int) -> Prepared:
    for _ in range(size // 12):
        crowd(stage, 1, *(f"r{next(_numbers)}" for _ in range(48)))
    return stage.enter("ann"), commands.Rooms()


def history_of_the_tail(stage: Stage, size: int) -> Prepared:
    return with_messages(stage, size), commands.History(room="lobby", limit=500)


def history_of_the_store(stage: Stage, size: int) -> Prepared:
    return with_messages(stage, 300 + 4 * size), commands.History(room="lobby", after=0, limit=4 * size)


def open_conversation(stage: Stage, size: int) -> Prepared:
    ann = with_conversations(stage, size)
    stage.enter("bob")
    return ann, commands.Open(peer="bob")


def close_conversation(stage: Stage, size: int) -> Prepared:
    ann = with_conversations(stage, size)
    stage.enter("bob")
    open_with(stage, ann, "bob")
    return ann, commands.Close(peer="bob")


def all_users(stage: Stage, size: int) -> Prepared:
    crowd(stage, 4 * size)
    return stage.enter("ann"), commands.Who()


def users_of_a_room(stage: Stage, size: int) -> Prepared:
    crowd(stage, 4 * size, "den")
    crowd(stage, 4 * size)
    return stage.enter("ann"), commands.Who(room="den", after="one")


def users_that_lag(stage: Stage, size: int) -> Prepared:
    ann = stage.enter("ann")
    for peer in crowd(stage, size):
        peer.outbox.peer_stopped, peer.outbox.limit, peer.outbox.queued_bytes = True, 1, 5
    for _ in range(3):
        ann.send_message()
        stage.commit()
    return ann, commands.Who()


def servers(stage: Stage, size: int) -> Prepared:
    for number in range(16 * size):
        stage.hub.record_rtt(float(number))
    return stage.enter("ann"), commands.Servers()


def rtt(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), commands.Rtt(username="É" * 30 * size)


def ping(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), commands.Ping(id="1")


def pong(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), commands.Pong(id="1")


def fault(stage: Stage, size: int) -> Prepared:
    crowd(stage, size)
    return stage.enter("ann"), Fault(ErrorCode.BAD_FRAME, "no")


SCENES: Final[dict[type, tuple[Scene, ...]]] = {
    commands.Message: (message_to_room, message_to_user, message_repeated),
    commands.Say: (say_under_a_new_name,),
    commands.Hello: (
        hello_with_rooms,
        hello_with_one_room_twice,
        hello_among_many,
        hello_that_resumes,
        hello_that_resumes_conversations,
        hello_that_resumes_closed_conversations,
        hello_that_names_what_it_may_not,
    ),
    commands.Arrive: (arrive,),
    commands.Rename: (rename_among_peers, rename_in_rooms),
    commands.Quit: (quit_with_rooms, quit_with_conversations),
    commands.Help: (show_help,),
    commands.Join: (join_with_rooms, join_with_conversations, join_a_long_name),
    commands.Leave: (leave,),
    commands.Switch: (switch,),
    commands.Rooms: (list_rooms,),
    commands.History: (history_of_the_tail, history_of_the_store),
    commands.Open: (open_conversation,),
    commands.Close: (close_conversation,),
    commands.Who: (all_users, users_of_a_room, users_that_lag),
    commands.Servers: (servers,),
    commands.Rtt: (rtt,),
    commands.Ping: (ping,),
    commands.Pong: (pong,),
    Fault: (fault,),
}
"""What makes each command large."""


def counted_work(stage: Stage, peer: Peer, command: Command | Fault) -> int:
    """Return how many lines of the server and of the protocol one command runs, waits included."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not any(package in frame.f_code.co_filename for package in COUNTED):
            return None
        lines += event == "line"
        return trace

    stage.router.record_input(peer.session, 100)
    for cache in (skeletons.skeletons, scripts._writing_systems, scripts._script_of):
        cache.cache_clear()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        stage.router.dispatch(peer.session, command)  # type: ignore[arg-type]
    finally:
        sys.settrace(before)
    return lines


def test_every_command_has_a_scene() -> None:
    assert set(SCENES) == {*TABLE, Fault}


@pytest.mark.parametrize(
    "scene", [*itertools.chain.from_iterable(SCENES.values())], ids=lambda scene: str(scene.__name__)
)
def test_twice_the_input_is_at_most_twice_the_work(make_stage: type[Stage], scene: Scene) -> None:
    work = []
    for size in (SMALL, 2 * SMALL, 4 * SMALL):
        stage = make_stage()
        work.append(counted_work(stage, *scene(stage, size)))
    assert work[0] > 0
    assert work[1] <= 2.3 * work[0], work
    assert work[2] <= 2.3 * work[1], work

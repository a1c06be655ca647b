"""Paged lists: what is refused for the rate is asked for again at its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chat_client.base import paging
from chat_client.errors import Refused
from chat_protocol import commands
from chat_protocol.errors import ErrorCode
from chat_protocol.events import HistoryPage, MessageEvent, RoomList, RoomState, User, UserList

PAGES = 5
RETRY_AFTER_S = 0.25


class Server:
    """Answers with pages of one entry; refuses each page but the first so many times."""

    def __init__(self, refusals: int, refused: Callable[[], Refused]) -> None:
        self.refusals = refusals
        self.asked: list[int] = []  # numbers of pages
        self._refused = refused

    def __call__(self, command: Any, expects: Any) -> Any:
        number = int(command.after or 0) if expects is not HistoryPage else (command.after or 0)
        self.asked.append(number)
        if self.asked.count(number) <= self.refusals and number:
            raise self._refused()
        number += 1
        more, after = number < PAGES, str(number)
        if expects is UserList:
            return UserList(users=[User(after, None, 0.0)], more=more, after=after)
        if expects is RoomList:
            return RoomList(rooms=[RoomState(after, 0, 0)], more=more, after=after)
        message = MessageEvent(
            room="r", seq=number, sender="s", username="u", message=after, timestamp=0.0, origin="client"
        )
        return HistoryPage(room="r", messages=[message], more=more, after=number)


def rate_limited() -> Refused:
    return Refused(ErrorCode.RATE_LIMITED, "rate limit exceeded", RETRY_AFTER_S)


Fetch = Callable[[paging.Ask, paging.Sleep], list[Any]]
LISTS: list[Fetch] = [
    lambda ask, sleep: paging.all_users(ask, sleep, None),
    paging.all_rooms,
    lambda ask, sleep: list(paging.messages_after(ask, sleep, "r", 0)),
]


@pytest.mark.parametrize("fetch", LISTS)
def test_page_that_is_refused_for_the_rate_is_asked_for_again_at_its_time(
    fetch: Fetch,
) -> None:
    slept: list[float] = []
    server = Server(2, rate_limited)
    assert len(fetch(server, slept.append)) == PAGES
    assert server.asked == [0, *[number for number in range(1, PAGES) for _ in range(3)]]
    assert slept == [RETRY_AFTER_S] * 2 * (PAGES - 1)


@pytest.mark.parametrize("fetch", LISTS)
def test_page_is_not_asked_for_again_for_ever(
    fetch: Fetch,
) -> None:
    slept: list[float] = []
    server = Server(1000, rate_limited)
    with pytest.raises(Refused, match="rate limit"):
        fetch(server, slept.append)
    assert server.asked == [0, *[1] * paging.MAX_TRIES]
    assert len(slept) == paging.MAX_TRIES - 1


def test_other_refusals_and_the_first_page_are_the_callers() -> None:
    slept: list[float] = []
    with pytest.raises(Refused, match="gone"):
        paging.all_users(Server(1, lambda: Refused(ErrorCode.NO_SUCH_ROOM, "gone")), slept.append, None)

    def refuse(command: commands.Command, expects: Any) -> Any:
        del command, expects
        raise rate_limited()

    with pytest.raises(Refused, match="rate limit"):
        paging.all_users(refuse, slept.append, None)
    assert not slept

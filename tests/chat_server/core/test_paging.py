import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.events import RoomState, User, UserList
from chat_protocol.lines import MAX_FRAME
from chat_server.core.paging import LIST_PAGE, fitting, following


@settings(deadline=None, max_examples=200)
@given(keys=st.sets(st.text("abcé", min_size=1, max_size=4)), limit=st.integers(1, 5))
def test_pages_go_through_all_once_in_order(keys: set[str], limit: int) -> None:
    found: list[str] = []
    more, after = True, ""
    while more:
        page, more = following(keys, after, limit)
        assert len(page) <= limit
        assert page or not more
        found += page
        after = page[-1] if page else after
    assert found == sorted(keys)


def test_a_list_stops_before_its_frame_is_too_large() -> None:
    states = [RoomState("r" * 32, 2**62, 10_000, "p" * 3000) for _ in range(100)]
    fit = fitting(states)
    assert 0 < fit < 100
    assert len(msgspec.json.encode(states[:fit])) <= MAX_FRAME - 4096
    assert len(msgspec.json.encode(states[: fit + 1])) > MAX_FRAME - 4096


def test_a_page_of_the_longest_names_fits() -> None:
    users = [User("\U00010400" * 32, 123_456.789, 1_764_000_000.123) for _ in range(LIST_PAGE)]
    frame = msgspec.json.encode(UserList(users=users, more=True, after="\U00010400" * 32, ref="\u0800" * 64))
    assert len(frame) < MAX_FRAME or fitting(users) < LIST_PAGE

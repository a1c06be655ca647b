import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.events import RoomState, User, UserList
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_server.core.base import sorted_dict
from chat_server.core.base.pages import PAGE_ENTRIES, count_fitting, first_page, sorted_page_after
from chat_server.core.base.sorted_dict import SortedDict


@settings(deadline=None, max_examples=200)
@given(keys=st.sets(st.text("abcé", min_size=1, max_size=4)), limit=st.integers(1, 5))
def test_pages_go_through_all_once_in_order(keys: set[str], limit: int) -> None:
    found: list[str] = []
    more, after = True, ""
    while more:
        page, more = sorted_page_after(keys, after, limit)
        assert len(page) <= limit
        assert page or not more
        found += page
        after = page[-1] if page else after
    assert found == sorted(keys)


def test_count_fitting_stops_below_the_frame_size() -> None:
    states = [RoomState("r" * 32, 2**62, 10_000, "p" * 3000) for _ in range(100)]
    fit = count_fitting(states)
    assert 0 < fit < 100
    assert len(msgspec.json.encode(states[:fit])) <= MAX_FRAME_BYTES - 4096
    assert len(msgspec.json.encode(states[: fit + 1])) > MAX_FRAME_BYTES - 4096


def test_page_of_the_longest_names_fits_into_a_frame() -> None:
    users = [User("\U00010400" * 32, 123_456.789, 1_764_000_000.123) for _ in range(PAGE_ENTRIES)]
    frame = msgspec.json.encode(UserList(users=users, more=True, after="\U00010400" * 32, ref="\u0800" * 64))
    assert len(frame) < MAX_FRAME_BYTES or count_fitting(users) < PAGE_ENTRIES


KEYS = st.text("abcé", max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS), st.tuples(st.just("delete"), KEYS), st.tuples(st.just("read"), KEYS)
)


@settings(deadline=None, max_examples=300)
@given(steps=st.lists(STEPS, max_size=60), many=st.sampled_from([2, 1000]))
def test_sorted_dict_is_in_order_after_any_changes(steps: list[tuple[str, str]], many: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_dict, "MAX_PENDING_KEYS", many)
        own: SortedDict[int] = SortedDict()
        model: dict[str, int] = {}
        for number, (step, key) in enumerate(steps):
            if step == "set":
                own[key] = model[key] = number
            elif step == "delete" and key in model:
                del own[key], model[key]
            else:
                assert list(own.keys_after(key)) == sorted(one for one in model if one > key)
        assert own == model
        assert list(own.keys_after("")) == sorted(one for one in model if one)


def test_first_page_reads_one_item_more_at_most() -> None:
    numbers = iter(range(1000))
    assert first_page(numbers, 3) == ([0, 1, 2], True)
    assert next(numbers) == 4
    assert first_page([1, 2], 3) == ([1, 2], False)
    assert first_page([1, 2, 3], 3) == ([1, 2, 3], False)

"""The status line: nothing stale, the most important first, nothing cut in the middle."""

from types import SimpleNamespace
from typing import Any

import pytest

from chat_client.terminal.conversation_list import ViewList
from chat_client.terminal.status_line import SILENT_AFTER_S, status_text


def make_state(views: ViewList | None = None, **more: Any) -> Any:
    """Return the parts of a state that the status line shows."""
    shown = views or ViewList()
    if views is None:
        shown.enter("lobby")
    client = SimpleNamespace(
        connected=True,
        unacknowledged=[],
        unanswered_s=0.0,
        samples=SimpleNamespace(last_ms=1.25),
        joined_rooms={"lobby": SimpleNamespace(count=5)},
        username="ann",
        address="chat.example:7072",
    )
    vars(client).update(more)
    return SimpleNamespace(client=client, views=shown)


def unread_views() -> ViewList:
    views = ViewList()
    for name, unread in (("few", 1), ("many", 120), ("named", 2), ("some", 7)):
        view = views.add(name)
        view.unread, view.mentioned = unread, name == "named"
    views.add("@ann,bob", "bob").unread = 1
    views.enter("lobby")
    return views


def test_figures_are_shown_while_the_server_answers() -> None:
    assert status_text(make_state(), 80) == " RTT 1.2 ms | lobby (5 here) | ann at chat.example:7072"
    soon = make_state(unanswered_s=SILENT_AFTER_S - 0.1)
    assert "RTT 1.2 ms | lobby (5 here)" in status_text(soon, 80)


def test_figures_are_not_shown_while_nothing_answers() -> None:
    silent = status_text(make_state(unanswered_s=12.3), 80)
    assert silent == " no answer for 12 s | lobby | ann at chat.example:7072"
    lost = status_text(make_state(connected=False, unacknowledged=["x"]), 80)
    assert lost == " NOT CONNECTED | 1 not acknowledged | lobby | ann at chat.example:7072"


def test_conversations_come_first_then_mentions_then_the_busiest() -> None:
    assert "unread: @bob 1, named 2!, many 120, some 7, few 1" in status_text(make_state(unread_views()), 120)


@pytest.mark.parametrize("columns", range(20, 120))
def test_unread_list_is_cut_between_entries(columns: int) -> None:
    line = status_text(make_state(unread_views()), columns)
    assert len(line) <= columns
    entries = ["@bob 1", "named 2!", "many 120", "some 7", "few 1"]
    if "unread: " in line:
        shown = line.partition("unread: ")[2].partition(" | ")[0].split(", ")
        if shown[-1].startswith("+"):
            left = len(entries) - len(shown) + 1
            assert shown.pop() == f"+{left} more"
        assert shown == entries[: len(shown)]


def test_line_that_is_too_narrow_for_any_entry_counts_them() -> None:
    assert status_text(make_state(unread_views()), 32) == " RTT 1.2 ms | unread: +5 more"
    assert status_text(make_state(unread_views()), 20) == " RTT 1.2 ms"

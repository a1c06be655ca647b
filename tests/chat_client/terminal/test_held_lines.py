"""A line that is meant for one person is not sent to a room."""

from collections.abc import Iterator
from typing import Any

import pytest

from chat_client import Client
from chat_client.terminal.held_lines import HeldLines
from chat_protocol.events import MessageEvent

ENTER = "\r"


@pytest.fixture
def listener(server: Any) -> Iterator[Client]:
    with Client("hold-bob", server.address, rooms=["hold"]) as client:
        yield client


def next_message(client: Client) -> MessageEvent:
    while True:
        event = client.next_event(60)
        if isinstance(event, MessageEvent) and event.sender != client.id:
            return event


@pytest.mark.parametrize(
    "command", ["/chat pal", "/join @x", "/msg pal psst", "/chta pal", "/chat a b", "/query pal", "/leave zz"]
)
def test_line_after_a_failed_change_is_held_once(
    server: Any, terminal: Any, listener: Client, command: str
) -> None:
    name = f"hold-{abs(hash(command))}"[:20]
    ann = terminal("--server", server.address, "--username", name, "--room", "hold")
    ann.see("hold> ")
    ann.type(command + ENTER)
    ann.type("hello?" + ENTER)
    ann.see("not sent, as ", "enter it again to send it")
    ann.see_line("hold> hello[?]")
    ann.type("!" + ENTER)
    assert next_message(listener).message == "hello?!"
    ann.type("next" + ENTER)
    assert next_message(listener).message == "next"


def test_lines_typed_before_the_failure_was_shown_are_all_held(
    server: Any, terminal: Any, listener: Client
) -> None:
    ann = terminal("--server", server.address, "--username", "ahead-ann", "--room", "hold")
    ann.see("hold> ")
    ann.type(f"/chat pal{ENTER}one{ENTER}two{ENTER}/join hold{ENTER}three{ENTER}")
    assert next_message(listener).message == "three"
    ann.see("hold> one", "two")
    ann.type(ENTER)
    assert next_message(listener).message == "one\ntwo"


def test_line_typed_while_the_peer_closes_is_held(server: Any, terminal: Any, listener: Client) -> None:
    with Client("close-cy", server.address) as cy:
        ann = terminal("--server", server.address, "--username", "close-ann", "--room", "hold")
        ann.see("hold> ")
        ann.type("/chat close-cy" + ENTER)
        ann.see("@close-cy> ")
        ann.type("a secret")
        ann.see_line("@close-cy> a secret")
        cy.close_conversation("close-ann")
        ann.see("close-cy closed the conversation")
        ann.see_line("hold> a secret")
        ann.type(ENTER)
        ann.see("not sent, as close-cy closed the conversation")
        ann.see_line("hold> a secret")  # it is put back
        ann.type("\x03public" + ENTER)
        assert next_message(listener).message == "public"


def test_lines_after_a_change_that_succeeded_are_sent() -> None:
    held = HeldLines(lambda: 0.0)
    held.number_input()
    held.note_failure("it failed")
    held.note_success()
    assert held.reason_to_hold(held.number_input()) is None


def test_only_one_line_after_the_failure_is_held() -> None:
    now = [0.0]
    held = HeldLines(lambda: now[0])
    first, second = held.number_input(), held.number_input()
    held.note_failure("it failed")
    pasted = held.number_input()
    assert {held.reason_to_hold(number) for number in (first, second, pasted)} == {"it failed"}
    now[0] = 1.0
    assert held.reason_to_hold(held.number_input()) is None, "it answers the lines that were put back"
    held.note_failure("again")
    now[0] = 2.0
    assert held.reason_to_hold(held.number_input()) == "again"
    assert held.reason_to_hold(held.number_input()) is None

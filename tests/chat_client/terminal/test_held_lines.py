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
    if command.startswith("/msg"):  # it changes no view: lines go on to the room until it has failed
        ann.see("nobody here is called pal")
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
    held = HeldLines()
    held.number_input()
    held.note_failure("it failed")
    held.note_success()
    assert held.reason_to_hold(held.number_input()) is None


def test_only_one_line_after_the_failure_is_held() -> None:
    held = HeldLines()
    held.note_failure("it failed")
    assert held.reason_to_hold(held.number_input()) == "it failed"
    assert held.reason_to_hold(held.number_input()) is None
    assert held.reason_to_hold(held.number_input()) is None


def test_line_after_those_typed_before_the_failure_answers_it() -> None:
    held = HeldLines()
    first, second = held.number_input(), held.number_input()
    held.note_failure("it failed")
    assert held.reason_to_hold(first) == held.reason_to_hold(second) == "it failed"
    assert held.reason_to_hold(held.number_input()) is None


def test_line_typed_ahead_of_a_held_one_is_held() -> None:
    held = HeldLines()
    held.note_failure("it failed")
    for _ in range(3):
        assert held.reason_to_hold(held.number_input(), typed_ahead=True) == "it failed"
    assert held.reason_to_hold(held.number_input()) is None
    assert held.reason_to_hold(held.number_input(), typed_ahead=True) is None

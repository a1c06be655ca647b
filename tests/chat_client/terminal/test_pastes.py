"""Pasted text: asked about if it is long, sent as one message or several."""

from typing import Any

from chat_client import Client
from chat_protocol.events import MessageEvent

CTRL_C, ENTER = "\x03", "\r"


def last_message(client: Client) -> str:
    """Return the text of the next message of another session."""
    while True:
        event = client.next_event(60)
        if isinstance(event, MessageEvent) and event.sender != client.id:
            return event.message


def test_paste_of_many_lines_asks_for_confirmation(server: Any, terminal: Any) -> None:
    with Client("paste-bob", server.address, rooms=["paste"]) as bob:
        ann = terminal("--server", server.address, "--username", "paste-ann", "--room", "paste")
        ann.see("paste> ")
        ann.paste("secret 1\nsecret 2\nsecret 3\nsecret 4\n")
        ann.see("secret 4", " 4 lines: Enter asks before sending")
        ann.type(ENTER)
        ann.see("Send these 4 lines", "[y/N]")
        ann.type(ENTER)
        ann.see_line("paste> secret 1")  # the line is restored, nothing was sent
        ann.type(CTRL_C)
        ann.type("short" + ENTER)
        assert last_message(bob) == "short"
        ann.paste("a\nb\nc\nd")
        ann.type(ENTER)
        ann.see("Send these 4 lines")
        ann.type("y" + ENTER)
        assert last_message(bob) == "a\nb\nc\nd"
        ann.see_line(r"\d\d:\d\d paste-ann: a")
        ann.see_line("      b")


def test_long_paste_is_sent_as_several_messages(server: Any, terminal: Any) -> None:
    with Client("long-bob", server.address, rooms=["long"]) as bob:
        ann = terminal("--server", server.address, "--username", "long-ann", "--room", "long")
        ann.see("long> ")
        ann.paste("word " * 2000)
        ann.type(ENTER)
        # The echo, of more lines than the screen has, may have scrolled it away.
        ann.until(lambda: "sent as 2" in ann.raw, "'sent as 2'")
        assert (last_message(bob) + " " + last_message(bob)).split() == ["word"] * 2000
        ann.paste("\n".join(["x" * 2500] * 4))
        ann.type(ENTER)
        ann.see("Send these 4 lines as 2 messages?")

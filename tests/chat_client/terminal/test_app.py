"""The interactive client at a pseudo-terminal, with a real server."""

import re
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import Any

from chat_client import Client
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ByeReason
from chat_protocol.events import (
    Bye,
    Closed,
    Limits,
    MessageEvent,
    RoomState,
    ServerIdentity,
    Welcome,
)

CTRL_C, CTRL_D, ENTER, TAB = "\x03", "\x04", "\r", "\t"


def last_message(client: Client) -> str:
    """Return the text of the next message of another session."""
    while True:
        event = client.next_event(60)
        if isinstance(event, MessageEvent) and event.sender != client.id:
            return event.message


def test_typed_lines_are_sent_and_shown_as_echo(server: Any, terminal: Any) -> None:
    with Client("t-bob", server.address) as bob:
        ann = terminal("--server", server.address, "--username", "t-ann")
        ann.see("lobby> ", "t-ann at")
        ann.type("hello there" + ENTER)
        ann.see_line(r"\d\d:\d\d t-ann: hello there")
        assert last_message(bob) == "hello there"
        assert not any(line.startswith("lobby> hello") for line in ann.lines), "the typed line stayed"
        ann.type("quit" + ENTER)
        assert ann.exit_code() == 0


def test_typed_line_survives_incoming_messages(server: Any, terminal: Any) -> None:
    with Client("draft-bob", server.address, rooms=["draft"]) as bob:
        ann = terminal("--server", server.address, "--username", "draft-ann", "--room", "draft")
        ann.see("draft> ")
        ann.type("half a li")
        ann.see_line("draft> half a li")
        for number in range(3):
            bob.say(f"between {number}", "draft")
        ann.see("between 0", "between 1", "between 2")
        ann.see_line("draft> half a li")
        ann.type("ne" + ENTER)
        assert last_message(bob) == "half a line"


def test_joining_a_room_shows_its_last_messages(server: Any, terminal: Any) -> None:
    with Client("past-bob", server.address, rooms=["past"]) as bob:
        for number in range(30):
            bob.say(f"said {number}.", "past")
        ann = terminal("--server", server.address, "--username", "past-ann")
        ann.see("lobby> ")
        ann.type("/join past" + ENTER)
        ann.see("past> ", "said 10.", "said 29.")
        assert "said 9." not in ann.screen


def test_joining_a_busy_room_shows_each_message_once(server: Any, terminal: Any) -> None:
    with Client("busy-bob", server.address, rooms=["busy"]) as bob:
        ann = terminal("--server", server.address, "--username", "busy-ann")
        ann.see("lobby> ")
        stop = threading.Event()
        said: list[int] = []

        def send_all() -> None:
            while not stop.is_set() and len(said) < 5000:
                said.append(len(said))
                bob.say(f"number {said[-1]}.", "busy")

        sending = threading.Thread(target=send_all)
        sending.start()
        ann.type("/join busy" + ENTER)
        ann.see("busy> ", "number")
        stop.set()
        sending.join()
        ann.see(f"number {said[-1]}.")
        shown = [int(number) for number in re.findall(r"number (\d+)\.", ann.raw)]
        assert shown == list(range(shown[0], said[-1] + 1))


def test_messages_in_other_rooms_are_counted_and_mentions_ring(server: Any, terminal: Any) -> None:
    with Client("count-bob", server.address, rooms=["count"]) as bob:
        ann = terminal("--server", server.address, "--username", "count-ann", "--room", "count")
        ann.see("count> ")
        ann.type("/join elsewhere" + ENTER)
        ann.see("elsewhere> ")
        bob.say("not shown", "count")
        bob.say("nor this", "count")
        ann.see("unread: count 2")
        assert "\a" not in ann.raw
        bob.say("hey Count-Ann!", "count")
        ann.see("unread: count 3!", "#count » count-bob: hey Count-Ann!")
        assert "\a" in ann.raw
        assert "not shown" not in ann.screen
        ann.type("/join count" + ENTER)
        ann.see("not shown", "nor this", "count> ")
        ann.until(lambda: "unread" not in ann.screen)


def test_conversation_is_opened_shown_and_closed(server: Any, terminal: Any) -> None:
    with Client("conv-bob", server.address) as bob:
        ann = terminal("--server", server.address, "--username", "conv-ann")
        ann.see("lobby> ")
        bob.say("are you there?", to="conv-ann")
        ann.see("(private) conv-bob: are you there?", "unread: @conv-bob 1")
        ann.type("/msg conv-bob in a minute" + ENTER)
        ann.see("(to conv-bob) conv-ann: in a minute")
        assert last_message(bob) == "in a minute"
        ann.type("/chat conv-b" + TAB + ENTER)
        ann.see("@conv-bob> ", "conversation with conv-bob")
        ann.type("now" + ENTER)
        assert last_message(bob) == "now"
        bob.say("then", to="conv-ann")
        ann.see("(private) conv-ann: now", "(private) conv-bob: then")
        ann.type("bye" + ENTER)
        ann.see("conversation with conv-bob closed", "lobby> ")
        while not isinstance(bob.next_event(60), Closed):
            pass
        ann.type("bye" + ENTER)
        assert ann.exit_code() == 0


def test_mistyped_command_is_not_sent(server: Any, terminal: Any) -> None:
    with Client("slash-bob", server.address, rooms=["slash"]) as bob:
        ann = terminal("--server", server.address, "--username", "slash-ann", "--room", "slash")
        ann.see("slash> ")
        ann.type(" /quti" + ENTER + "//quit is how to leave" + ENTER)
        ann.see("there is no /quti", "did you mean /quit?")
        assert last_message(bob) == "/quit is how to leave"


def test_commands_show_their_answers(server: Any, terminal: Any) -> None:
    with Client("cmd-bob", server.address, rooms=["cmd"]) as bob:
        ann = terminal("--server", server.address, "--username", "cmd-ann", "--room", "cmd", rows=60)
        ann.see("cmd> ")
        ann.type("/who" + ENTER)
        ann.see("2 in cmd: ", "cmd-bob (")
        ann.type("/rooms" + ENTER + "/servers" + ENTER + "/rtt" + ENTER + "/rtt cmd-bob" + ENTER)
        ann.see(
            "cmd: 2 here", "clients, RTT", "measured here: last", "RTT of cmd-bob, measured by the server"
        )
        ann.type("/nick cmd-anna" + ENTER)
        ann.see("you are now cmd-anna", "cmd-anna at")
        ann.type("/ignore cmd-bob" + ENTER)
        ann.see("messages of cmd-bob are hidden")
        bob.say("unheard", "cmd")
        with Client("cmd-cy", server.address, rooms=["cmd"]) as cy:
            cy.say("right behind it", "cmd")
        ann.see("right behind it")  # so that the hidden message has arrived
        ann.type("/ignore cmd-bob" + ENTER)
        ann.see("no longer ignored")
        bob.say("heard again", "cmd")
        ann.see("heard again")
        assert "unheard" not in ann.screen
        ann.type("/history 1" + ENTER)
        ann.see("the last message of cmd", "older: /history 2")
        assert "end of history" not in ann.screen
        ann.type("/history 9" + ENTER)
        ann.see("end of history")
        ann.type("/help" + ENTER)
        ann.see("/ignore [NAME]", "join a room")
        ann.type("/join cmd-empty" + ENTER)
        ann.see("cmd-empty> ")
        ann.type("/history" + ENTER)
        ann.see("no messages in cmd-empty yet")
        ann.type("/leave" + ENTER)
        ann.see("you have left cmd-empty")
        ann.type("/leave" + ENTER)
        ann.see("you have left cmd", "(no room)> ")
        ann.type("into the void" + ENTER)
        ann.see("you are in no room, so nothing was sent")


def test_control_sequences_of_others_are_shown_as_text(server: Any, terminal: Any) -> None:
    with Client("evil", server.address, rooms=["evil"]) as evil:
        ann = terminal("--server", server.address, "--username", "evil-ann", "--room", "evil")
        ann.see("evil> ")
        evil.say("turned \u202eround\n14:03 ann: forged\u2028", "evil")
        evil.say("x" * 85 + " 14:04 ann: also forged", "evil")
        ann.see("also forged")
        assert "\u202e" not in ann.raw
        assert "\u2028" not in ann.raw
        assert "turned <U+202E>round" in ann.screen
        forged = [line for line in ann.lines if "forged" in line]
        assert len(forged) == 2
        assert all(line.startswith("      ") for line in forged)


def test_lost_connection_keeps_the_typed_line_and_queues_sent_ones(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    ann.type("a draft")
    server.kill()
    ann.see("not connected: ", "NOT CONNECTED")
    ann.see_line("lobby> a draft")
    ann.type(" for later" + ENTER)
    ann.see("1 not acknowledged")
    server.start()
    ann.see("back after ", "RTT ")
    ann.see_line(r"\d\d:\d\d ann: a draft for later")
    ann.until(lambda: "not acknowledged" not in ann.screen)
    assert "Traceback" not in ann.raw


def test_frozen_server_is_shown_in_place_of_its_last_figures(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ", "RTT ", "lobby (1 here)")
    server.freeze()
    ann.see("no answer for ")
    assert "RTT " not in ann.lines[-1]
    assert "here)" not in ann.lines[-1]
    server.thaw()
    ann.see("RTT ", "lobby (1 here)")


def test_status_line_on_a_narrow_screen_shows_the_connection(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann", columns=40)
    ann.see("lobby> ", "RTT ")
    server.kill()
    ann.see("NOT CONNECTED")
    ann.type("later" + ENTER)
    ann.see("NOT CONNECTED | 1 not acknowledged")


def test_quit_with_unacknowledged_lines_prints_them(start_server: Any, terminal: Any) -> None:
    server = start_server()
    ann = terminal("--server", server.address, "--username", "ann")
    ann.see("lobby> ")
    server.kill()
    ann.see("NOT CONNECTED")
    ann.type("never heard" + ENTER)
    ann.see("1 not acknowledged")
    ann.type(CTRL_D)
    assert ann.exit_code() == 0
    assert "1 line was not acknowledged" in ann.screen
    assert "never heard" in ann.screen


def test_ctrl_c_clears_the_line_and_twice_exits(server: Any, terminal: Any) -> None:
    with Client("c-bob", server.address, rooms=["c"]) as bob:
        ann = terminal("--server", server.address, "--username", "c-ann", "--room", "c")
        ann.see("c> ")
        ann.type("not this")
        ann.see_line("c> not this")
        ann.type(CTRL_C)
        ann.see("Ctrl-C again")
        ann.until(lambda: "not this" not in ann.screen)
        ann.type("but this" + ENTER)
        assert last_message(bob) == "but this"
        ann.type(CTRL_C)
        ann.until(lambda: ann.screen.count("Ctrl-C again") == 2)
        ann.type(CTRL_C)
        assert ann.exit_code() == 0


def test_sigterm_restores_the_terminal(server: Any, terminal: Any) -> None:
    ann = terminal("--server", server.address, "--username", "term-ann")
    ann.see("lobby> ")
    ann.interrupt(signal.SIGTERM)
    assert ann.exit_code() == 0
    assert ann.raw.rindex("\x1b[?2004l") > ann.raw.rindex("\x1b[?2004h"), "bracketed paste was left on"


def test_prompts_for_server_and_name_repeat_until_valid(server: Any, terminal: Any) -> None:
    with Client("asked-bob", server.address):
        ann = terminal()
        ann.see("Server [localhost:7072]: ")
        ann.type("127.0.0.1:1" + ENTER)
        ann.see("Username [tester]: ")
        ann.type("no good" + ENTER)
        ann.see("a name may contain letters")
        ann.type("asked-bob" + ENTER)
        ann.see("connection refused")
        ann.type(server.address + ENTER)
        ann.see("Name not accepted")
        ann.type("asked-ann" + ENTER)
        ann.see("lobby> ", "asked-ann at")


def test_several_servers_show_which_is_used(server: Any, terminal: Any) -> None:
    ann = terminal("--server", "127.0.0.1:1", "--server", server.address, "--username", "quick-ann")
    ann.see("measuring 2 servers", "the quickest", "127.0.0.1:1: connection refused", "lobby> ")


def test_connection_refused_is_one_line(terminal: Any) -> None:
    ann = terminal("--server", "127.0.0.1:1", "--username", "ann")
    assert ann.exit_code() == 3
    assert ann.lines[0] == "chat-client: 127.0.0.1:1: connection refused"


def test_no_color_disables_colours(server: Any, terminal: Any) -> None:
    colours = re.compile(r"\x1b\[[\d;]*(?:3[0-7]|9[0-7]|4[0-7])(?:;\d+)*m")
    for username, more, coloured in (("nc-ann", {"NO_COLOR": "1"}, False), ("c-carl", {}, True)):
        with terminal("--server", server.address, "--username", username, **more) as one:
            one.see("lobby> ")
            one.type("in colour?" + ENTER)
            one.see(f"{username}: in colour?")
            one.type("quit" + ENTER)
            one.exit_code()
            assert bool(colours.search(one.raw)) is coloured


def test_dumb_terminal_is_supported(server: Any, terminal: Any) -> None:
    with Client("dumb-bob", server.address, rooms=["dumb"]) as bob:
        ann = terminal("--server", server.address, "--username", "dumb-ann", "--room", "dumb", TERM="dumb")
        ann.see("dumb> ")
        ann.type("hello" + ENTER)
        assert last_message(bob) == "hello"
        bob.say("hello yourself", "dumb")
        ann.see("dumb-bob: hello yourself")
        ann.type(b"\xe9" + b"\r")
        ann.see("not sent: ", "0xE9")
        ann.type("/chat nobody" + ENTER)
        ann.see("nobody here is called")
        ann.type("held" + ENTER)
        ann.see("not sent, as /chat failed")
        ann.type("sent alone" + ENTER)
        assert last_message(bob) == "sent alone"
        assert not re.search(r"\x1b\[[\d;]*m", ann.raw)
        ann.type("quit" + ENTER)
        assert ann.exit_code() == 0


def test_input_history_is_kept_in_a_private_file(server: Any, terminal: Any, tmp_path: Path) -> None:
    for username in ("hist-one", "hist-two"):
        with terminal("--server", server.address, "--username", username) as ann:
            ann.see("lobby> ")
            if username == "hist-two":
                ann.type("\x1b[A\x1b[A" + ENTER)  # above "quit"
            else:
                ann.type("remember me" + ENTER)
            ann.see(f"{username}: remember me")
            ann.type("quit" + ENTER)
            ann.exit_code()
    (path,) = tmp_path.rglob("chat-history")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_app_when_kicked_shows_the_reason_and_exits(terminal: Any, peer: Any) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        welcome = Welcome(
            protocol=1,
            id="me",
            username="ann",
            resumed=False,
            epoch="e",
            server=ServerIdentity("peer", "0", "node"),
            rooms=[RoomState("lobby", 0, 1)],
            limits=Limits(65536, 8192, 0, 0, 0, 0, 0, 0),
            ping_interval=0,
        )
        connection.sendall(encode(welcome) + encode(Bye(reason=ByeReason.KICKED, message="not today")))

    bad = peer(behave)
    ann = terminal("--server", bad.address, "--username", "ann")
    assert ann.exit_code() == 4
    assert "the session has ended: not today" in ann.screen
    assert "the name ann is blocked for about a minute" in ann.screen
    assert "Traceback" not in ann.screen
    assert bad.connections == 1

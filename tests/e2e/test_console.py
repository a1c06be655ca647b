"""The operator's console in a real pseudo-terminal: `chat-server --console`."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.processes.console_terminal import ConsoleTerminal as Terminal
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(tmp_path)
    yield one
    one.close()


Connect = Callable[[str], NdjsonPeer]


@pytest.fixture
def join(terminal: Terminal) -> Iterator[Connect]:
    peers = []

    def open_one(name: str) -> NdjsonPeer:
        peer = NdjsonPeer(terminal.port)
        peers.append(peer)
        peer.send_frame("hello", username=name)
        peer.expect("welcome")
        return peer

    yield open_one
    for peer in peers:
        peer.close()


def test_console_text_goes_to_lobby_as_server(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    ann.send_frame("message", message="is anybody there?")
    terminal.until("ann: is anybody there?")

    terminal.type("I am\r")

    said = ann.expect("message", message="I am")
    assert (said["username"], said["origin"], said["room"]) == ("server", "server", "lobby")


def test_a_line_being_typed_survives_what_comes_in(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type("half of ")
    terminal.until("half of")
    ann.send_frame("message", message="an interruption")
    terminal.until("an interruption")

    terminal.type("a line\r")

    assert ann.expect("message", username="server")["message"] == "half of a line"


def test_a_private_message_reaches_its_user_only(terminal: Terminal, join: Connect) -> None:
    ann, bob = join("ann"), join("bob")

    terminal.type("/msg ann psst\r")

    assert ann.expect("message", username="server")["message"] == "psst"
    terminal.type("everyone\r")
    assert bob.expect("message", username="server")["message"] == "everyone"


def test_console_kick_blocks_the_name(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type("/who\r")
    terminal.until("connected: ann, server")

    terminal.type("/kick ANN\r")

    assert ann.expect("bye")["reason"] == "kicked"
    terminal.until("ann was kicked")
    again = NdjsonPeer(terminal.port)
    try:
        again.send_frame("hello", username="Ann")
        refused = again.expect("error")
    finally:
        again.close()
    assert refused["code"] == "forbidden"
    assert 0 < refused["retry_after"] <= 60


def test_console_deletes_a_room(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    ann.send_frame("join", room="Ops")
    ann.send_frame("message", message="secret", room="ops")
    ann.expect("message", room="Ops")

    terminal.type("/delete-room OPS\r")

    terminal.until("Ops was deleted, with its messages up to 1; 1 members were removed")
    assert ann.expect("left") == {"type": "left", "room": "Ops"}
    assert ann.ask("join", room="ops")["seq"] == 1
    assert ann.ask("history", room="ops")["messages"] == []
    terminal.type("/delete-room lobby\r")
    terminal.until("the lobby cannot be deleted")
    terminal.type("/delete-room\r")
    terminal.until("usage: /msg NAME text, /kick NAME, /delete-room NAME")


def test_console_unknown_command_is_not_sent(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type("/kik ann\r")
    terminal.until("unknown command /kik")
    terminal.type("/kick nobody\r")
    terminal.until("nobody here is called nobody")

    terminal.type("aloud\r")

    assert ann.expect("message")["message"] == "aloud"


def test_what_peers_say_does_nothing_to_the_terminal(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")

    ann.send_frame("message", message="turned \u202e round\nand a second line")

    shown = terminal.until("and a second line")
    assert "\u202e" not in shown
    assert "\\u202e" in shown
    assert re.search(r"\n {8}and a second line", shown)


def test_bye_is_said_and_stops_the_server_in_order(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")

    terminal.type("bye\r")

    assert ann.expect("message")["message"] == "bye"
    assert ann.expect("bye")["reason"] == "shutdown"
    assert terminal.end() == 0
    events = [json.loads(line)["event"] for line in terminal.log.read_text().splitlines()]
    assert events[-1] == "server_stopped"


@pytest.mark.parametrize("keys", ["/quit\r", "\x03", "\x04"], ids=["/quit", "Ctrl-C", "Ctrl-D"])
def test_console_quit_and_control_keys_stop_the_server(terminal: Terminal, keys: str) -> None:
    terminal.type(keys)

    assert terminal.end() == 0


def test_server_whose_terminal_is_gone_logs_it_and_goes_on(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")

    terminal.hang_up()

    ann.send_frame("message", message="still there?", ref="1")
    assert ann.expect("message", message="still there?")["ref"] == "1"
    ann.expect("presence", left=["server"])
    ann.send_frame("message", message="yes", ref="2")
    assert ann.expect("message", message="yes")["ref"] == "2"
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(TIMEOUT_S) == 0
    lines = [json.loads(line) for line in terminal.log.read_text().splitlines()]
    (lost,) = [line for line in lines if line["event"] == "console_unavailable"]
    assert (lost["level"], lost["reason"]) == ("warning", "terminal_lost")
    assert "Input/output error" in lost["error"]
    assert not [line for line in lines if line["event"] == "internal_error"]


def test_terminal_that_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    # Given a console whose terminal is not read, as behind a broken network
    terminal = Terminal(tmp_path, "--rate-messages", "0", "--rate-bytes", "0")
    try:
        with NdjsonPeer(terminal.port) as ann:
            ann.hello("ann")

            # When more is said than the terminal and the queue in front of it take, then it is acknowledged
            for _ in range(100):
                ann.say("x" * 8000)

            # And when it is read again, it shows how much was left out, and then what is said
            shown = terminal.until("lines were not shown")
            dropped = int(shown.rpartition("! ")[2].partition(" ")[0])
            assert 0 < dropped < 100
            ann.say("live again")
            terminal.until("live again")
    finally:
        terminal.close()


def test_stop_does_not_wait_for_a_terminal_that_takes_nothing(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--rate-messages", "0", "--rate-bytes", "0")
    try:
        with NdjsonPeer(terminal.port) as ann:
            ann.hello("ann")
            for _ in range(100):
                ann.say("x" * 8000)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(TIMEOUT_S) == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("size", [(1, 1), (0, 0), (2, 7), (1, 500)])
def test_terminal_of_any_size_holds_up_nobody(tmp_path: Path, size: tuple[int, int]) -> None:
    terminal = Terminal(tmp_path, size=size)
    try:
        with NdjsonPeer(terminal.port) as ann:
            ann.hello("ann")
            ann.say("words that are wider than that")
            terminal.type("hello\r")
            ann.expect("message", username="server", message="hello")
    finally:
        terminal.close()


def test_terminal_of_another_encoding_shows_what_it_can(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, encoding="ascii")
    try:
        with NdjsonPeer(terminal.port) as ann:
            ann.hello("ann")
            ann.say("caf\u00e9 \u2603 and more")
            terminal.until("caf? ? and more")
            ann.say("live")
    finally:
        terminal.close()


def test_ctrl_z_is_ignored_with_a_notice(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type("hel\x1alo")
    terminal.until("Ctrl-Z is ignored")
    terminal.process.send_signal(signal.SIGTSTP)  # from a shell or a window manager

    terminal.type("\r")

    assert ann.expect("message", username="server")["message"] == "hello"


PASTE, PASTE_END = "\x1b[200~", "\x1b[201~"


def test_a_message_that_is_refused_is_not_lost(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type(f"{PASTE}left\x1aright{PASTE_END}\r")
    assert "U+001A" in terminal.until("the Up key brings the line back")

    terminal.recall("right")
    terminal.type("\x7f" * len("xright") + " out\r")

    assert ann.expect("message", username="server")["message"] == "left out"


@pytest.mark.parametrize("before", ["\ufeff", "\xa0", "\u200b", " \t\ufeff "])
def test_a_command_behind_what_nobody_sees_is_not_said_aloud(
    terminal: Terminal, join: Connect, before: str
) -> None:
    ann, bob = join("ann"), join("bob")

    terminal.type(f"{PASTE}{before}/msg ann my secret{PASTE_END}\r")
    assert ann.expect("message", username="server")["message"] == "my secret"

    terminal.type(f"{PASTE}{before}aloud{PASTE_END}\r")
    assert bob.expect("message", username="server")["message"] == "aloud"


def test_bytes_that_are_not_utf8_are_refused_in_a_sentence(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    os.write(terminal._main, b"caf\xe9\r")
    assert "!" in terminal.until("the Up key brings the line back")
    os.write(terminal._main, b"/join caf\xe9\r/who\r")
    terminal.until("connected: ann, server")
    terminal.type("hello\r")
    assert ann.expect("message", username="server")["message"] == "hello"


def test_a_paste_without_its_end_ends_by_itself(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    terminal.type(f"{PASTE}half a paste")
    terminal.until("half a paste")

    terminal.type("\r")

    assert ann.expect("message", username="server")["message"] == "half a paste"


def test_ctrl_c_works_in_a_paste_without_its_end(terminal: Terminal) -> None:
    terminal.type(f"{PASTE}half a paste\x03")
    assert terminal.end() == 0


def test_console_speaks_and_listens_in_other_rooms(terminal: Terminal, join: Connect) -> None:
    ann = join("ann")
    ann.send_frame("join", room="Ops")
    ann.expect("joined")

    terminal.type("/join ops\r")
    terminal.until("server (Ops)>")
    terminal.type("deploying\r")
    assert ann.expect("message", username="server", message="deploying")["room"] == "Ops"
    ann.send_frame("message", message="seen", room="Ops")
    terminal.until("(Ops) ann: seen")
    ann.send_frame("message", message="meanwhile")
    terminal.until("] ann: meanwhile")

    terminal.type("/leave\r")
    terminal.until("you have left Ops")
    terminal.type("home\r")
    assert ann.expect("message", username="server", message="home")["room"] == "lobby"
    terminal.type("/leave\r")
    terminal.until("the console stays in the lobby")


def test_console_says_where_its_log_is(terminal: Terminal) -> None:
    assert f"The log is written to {terminal.log}." in terminal.shown


def test_without_a_terminal_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN_DIR / "chat-server", "--console", "--port", "0", "--data-dir", tmp_path],
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--console needs a terminal" in done.stderr

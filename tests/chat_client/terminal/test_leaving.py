"""However the interactive client ends, its user gets the name back, and the terminal as it was."""

import signal
from pathlib import Path
from typing import Any

import pytest

from chat_client import Client, Refused
from chat_protocol.events import MessageEvent, Opened

CTRL_C, CTRL_D, CTRL_Z, ENTER = "\x03", "\x04", "\x1a", "\r"


def expect_free(name: str, address: str) -> None:
    """Assert that nobody has the name, connected or held."""
    with Client(name, address) as client:
        assert client.username == name


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 0)], ids=["hangup", "termination"]
)
def test_signal_quits_and_restores_the_terminal(
    server: Any, terminal: Any, number: signal.Signals, code: int
) -> None:
    name = f"sig-{number}"
    ann = terminal("--server", server.address, "--username", name)
    before = ann.modes
    ann.see("lobby> ", "RTT ")
    assert "ICANON" not in ann.modes
    ann.interrupt(number)
    ann.interrupt(number)  # a shell and the kernel may both send it
    ann.until(lambda: ann.modes == before)
    assert ann.exit_code() == code
    assert ann.raw.rindex("\x1b[?2004l") > ann.raw.rindex("\x1b[?2004h"), "bracketed paste was left on"
    assert "Traceback" not in ann.raw
    expect_free(name, server.address)


def test_closed_window_quits(server: Any, terminal: Any, tmp_path: Path) -> None:
    ann = terminal("--server", server.address, "--username", "window-ann")
    ann.see("lobby> ")
    ann.type("a draft")
    ann.see_line("lobby> a draft")
    ann.close_window()
    assert ann.exit_code() in {129, 0}
    expect_free("window-ann", server.address)
    assert not list(tmp_path.rglob("sessions/*"))


@pytest.mark.parametrize("prompt", ["Server [", "Username ["])
def test_hangup_while_it_asks_restores_the_terminal(server: Any, terminal: Any, prompt: str) -> None:
    ann = terminal(*(["--server", server.address] if prompt.startswith("User") else []))
    ann.see(prompt)
    before = {"ICANON", "ECHO", "ISIG"}
    ann.interrupt(signal.SIGHUP)
    ann.until(lambda: ann.modes == before)
    assert ann.exit_code() == 129
    assert "Traceback" not in ann.raw


def test_hangup_ends_no_callback_of_a_prompt(terminal: Any, tmp_path: Path) -> None:
    # Given a signal in the middle of one: its loop would report an exception as its own fault
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from prompt_toolkit.history import InMemoryHistory\n"
        "load = InMemoryHistory.load_history_strings\n"
        "def hang_up(self):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    yield from load(self)\n"
        "InMemoryHistory.load_history_strings = hang_up\n"
    )
    ann = terminal(PYTHONPATH=str(tmp_path))
    assert ann.exit_code() == 129
    assert "Traceback" not in ann.raw
    assert "Unhandled" not in ann.raw


def test_start_after_a_crash_resumes_the_session(server: Any, terminal: Any, tmp_path: Path) -> None:
    with Client("crash-bob", server.address, rooms=["crash"]) as bob:
        with terminal("--server", server.address, "--username", "crash-ann", "--room", "crash") as ann:
            ann.see("crash> ")
            bob.say("before", to="crash-ann")
            ann.see("unread: @crash-bob 1")
            ann.interrupt(signal.SIGKILL)
            assert ann.exit_code() == -signal.SIGKILL
        with pytest.raises(Refused, match="held for a session that was cut off, and free in"):
            Client("crash-ann", server.address).connect()
        (path,) = tmp_path.rglob("sessions/*.json")
        assert path.stat().st_mode & 0o777 == 0o600
        bob.say("missed", "crash")
        bob.say("missed too", to="crash-ann")
        again = terminal("--server", server.address, "--username", "crash-ann")
        again.see(
            "in the session that was cut off",
            "lobby> ",
            "(private) crash-bob: missed too",
            "crash 1",
            "messages caught up",
        )
        again.type("/chat crash-bob" + ENTER)
        again.see("(private) crash-bob: before")
        again.type("/join crash" + ENTER)
        again.see("crash-bob: missed")
        again.type("/quit" + ENTER)
        assert again.exit_code() == 0
    expect_free("crash-ann", server.address)
    assert not list(tmp_path.rglob("sessions/*"))


def test_second_client_of_a_name_does_not_take_the_session_of_the_first(server: Any, terminal: Any) -> None:
    ann = terminal("--server", server.address, "--username", "twin")
    ann.see("lobby> ")
    with terminal("--server", server.address, "--username", "twin") as second:
        second.see("Name not accepted: the name twin is taken; choose another")
    ann.type("still here" + ENTER)
    ann.see("twin: still here")


def test_leaving_says_that_conversations_end(server: Any, terminal: Any) -> None:
    with Client("priv-bob", server.address) as bob:
        ann = terminal("--server", server.address, "--username", "priv-ann")
        ann.see("lobby> ")
        ann.type("/msg priv-bob psst" + ENTER)
        ann.see("(to priv-bob) priv-ann: psst")
        while not isinstance(bob.next_event(60), MessageEvent):
            pass
        ann.type("/chat priv-bob" + ENTER)
        ann.see("@priv-bob> ")
        ann.type("/close" + ENTER)
        ann.see("conversation with priv-bob closed", "then neither can")
        bob.say("again", to="priv-ann")
        ann.see("(private) priv-bob: again")
        ann.type("/quit" + ENTER)
        assert ann.exit_code() == 0
        assert "you leave your conversation with priv-bob: neither side can open it again" in ann.screen


def test_suspended_client_goes_on_in_the_foreground(server: Any, terminal: Any) -> None:
    with Client("stop-bob", server.address, rooms=["stop"]) as bob:
        shell = terminal.shell(
            f"chat-client --server {server.address} --username stop-ann --room stop; echo ended $?"
        )
        shell.see("stop> ")
        shell.type("a draft")
        shell.see_line("stop> a draft")
        shell.type(CTRL_Z)
        shell.see("Stopped")
        assert {"ICANON", "ECHO"} <= shell.modes or "ready$" in shell.screen
        shell.type("fg\r")
        shell.see_line("stop> a draft")
        bob.say("welcome back", "stop")
        shell.see("stop-bob: welcome back")
        shell.type(ENTER)
        shell.see("stop-ann: a draft")


def test_ctrl_c_between_two_prompts_is_not_lost(server: Any, terminal: Any) -> None:
    ann = terminal("--server", server.address, "--username", "int-ann")
    ann.see("lobby> ")
    for count in range(1, 21):
        ann.type(f"line {count}" + ENTER)
        ann.interrupt(signal.SIGINT)  # while the line is typed, or the prompt ends, or the next one begins
        ann.until(lambda count=count: ann.raw.count("press Ctrl-C again") == count)
        ann.type(f"next {count}" + ENTER)  # so that the next Ctrl-C does not leave
        ann.see_line(rf"\d\d:\d\d int-ann: next {count}")
    ann.type(CTRL_D)
    assert ann.exit_code() == 0
    expect_free("int-ann", server.address)


def test_opened_conversation_is_resumed_for_its_peer_too(server: Any, terminal: Any) -> None:
    with Client("back-bob", server.address) as bob:
        with terminal("--server", server.address, "--username", "back-ann") as ann:
            ann.see("lobby> ")
            ann.type("/chat back-bob" + ENTER)
            ann.see("@back-bob> ")
            while not isinstance(bob.next_event(60), Opened):
                pass
            ann.interrupt(signal.SIGKILL)
            ann.exit_code()
        bob.say("are you there?", to="back-ann")
        again = terminal("--server", server.address, "--username", "back-ann")
        again.see("(private) back-bob: are you there?")

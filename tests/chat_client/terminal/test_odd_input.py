"""Input that cannot be sent stays in the prompt; odd terminals and folders cost no line."""

import resource
from pathlib import Path
from typing import Any

import pytest

from chat_client import Client
from chat_protocol.events import MessageEvent
from support.processes.process import strangers_may_run

CTRL_C, CTRL_Q, CTRL_U, ENTER, BACKSPACE = "\x03", "\x11", "\x15", "\r", "\x7f"


def next_text(client: Client) -> str:
    while True:
        event = client.next_event(60)
        if isinstance(event, MessageEvent) and event.sender != client.id:
            return event.message


@pytest.mark.parametrize(
    "command",
    ["/nick ", "/join ", "/chat ", "/who ", "/rtt ", "/leave ", "/close ", "/msg odd-bob ", "/ignore ", ""],
)
def test_bytes_that_are_not_utf_8_are_not_sent_and_cost_nothing(
    server: Any, terminal: Any, command: str
) -> None:
    with Client("odd-bob", server.address, rooms=["odd"]) as bob:
        ann = terminal(
            "--server", server.address, "--room", "odd", "--username", f"odd{len(command)}-{command[1:3]}"
        )
        ann.see("odd> ")
        ann.type(command.encode() + b"a\xe9" + ENTER.encode())
        ann.see("not sent: ", "0xE9", f"odd> {command}a")
        ann.type(CTRL_U + "hello there" + ENTER)
        assert next_text(bob) == "hello there"
        assert "Traceback" not in ann.raw


@pytest.mark.parametrize("pasted", ["a\x1b[31mb", "a\x1ab", "a\x00b"], ids=["escape", "substitute", "nul"])
def test_control_characters_keep_the_line_in_the_prompt(server: Any, terminal: Any, pasted: str) -> None:
    with Client("ctl-bob", server.address, rooms=["ctl"]) as bob:
        ann = terminal("--server", server.address, "--username", "ctl-ann", "--room", "ctl")
        ann.see("ctl> ")
        ann.paste(pasted)
        ann.type(ENTER)
        ann.see("not sent: the message contains the control character")
        ann.see_line(r"ctl> a.*b")
        ann.type(CTRL_U + "without" + ENTER)
        assert next_text(bob) == "without"
        ann.type("/quit" + ENTER)
        assert ann.exit_code() == 0


def test_paste_without_an_end_mark_can_be_left(server: Any, terminal: Any) -> None:
    with Client("endless-bob", server.address, rooms=["endless"]) as bob:
        ann = terminal("--server", server.address, "--username", "endless-ann", "--room", "endless")
        ann.see("endless> ")
        ann.type("\x1b[200~hi")
        ann.see("receiving a paste")
        ann.type(CTRL_C)
        ann.see("press Ctrl-C again")
        ann.type("typed" + ENTER)
        assert next_text(bob) == "typed"


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["utf8-mode", "ascii"],
)
def test_line_typed_in_another_locale_is_sent_and_shown(
    server: Any, terminal: Any, locale: dict[str, str]
) -> None:
    name = f"loc-{len(locale)}"
    with Client(f"{name}-bob", server.address, rooms=[name]) as bob:
        ann = terminal("--server", server.address, "--username", f"{name}-ann", "--room", name, **locale)
        ann.see(f"{name}> ")
        ann.type("café €")
        ann.see_line(f"{name}> café €")
        ann.type(ENTER)
        assert next_text(bob) == "café €"
        ann.see("ann: café €")


def test_state_folder_that_goes_bad_is_reported_once(server: Any, terminal: Any) -> None:
    with Client("bad-bob", server.address, rooms=["bad"]) as bob:
        ann = terminal("--server", server.address, "--username", "bad-ann", "--room", "bad")
        ann.see("bad> ")
        ann.type("first" + ENTER)
        assert next_text(bob) == "first"
        # No file may grow any more, as on a full disk; ENOSPC and EFBIG are handled alike.
        resource.prlimit(ann.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for number in range(3):
            ann.type(f"line {number}" + ENTER)
            assert next_text(bob) == f"line {number}"
        ann.see("the lines that you type cannot be kept", "the chat goes on")
        resource.prlimit(ann.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ann.type("/quit" + ENTER)
        assert ann.exit_code() == 0
        assert ann.raw.count("the lines that you type cannot be kept") == 1
        assert "Traceback" not in ann.raw
        assert "Press ENTER" not in ann.raw


def test_removed_state_folder_is_made_again(server: Any, terminal: Any, tmp_path: Path) -> None:
    with Client("gone-bob", server.address, rooms=["gone"]) as bob:
        ann = terminal("--server", server.address, "--username", "gone-ann", "--room", "gone")
        ann.see("gone> ")
        ann.type("first" + ENTER)
        assert next_text(bob) == "first"
        (path,) = tmp_path.rglob("chat-history")
        path.unlink()
        for other in (path.parent / "sessions").iterdir():
            other.unlink()
        (path.parent / "sessions").rmdir()
        path.parent.rmdir()
        ann.type("second" + ENTER)
        assert next_text(bob) == "second"
        ann.until(path.exists)
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("home", "notice"),
    [({"HOME": ""}, False), ({"HOME": "relative"}, False), ({"HOME": "/proc/self/nothing"}, True)],
    ids=["empty", "relative", "unusable"],
)
def test_home_that_cannot_be_used_costs_the_history_only(
    server: Any, terminal: Any, home: dict[str, str], notice: bool
) -> None:
    name = f"home-{len(home['HOME'])}"
    with Client(f"{name}-bob", server.address, rooms=[name]) as bob:
        # XDG folders must be absolute, so that this one is ignored, too.
        ann = terminal(
            "--server", server.address, "--username", name, "--room", name, XDG_STATE_HOME="relative", **home
        )
        ann.see(f"{name}> ")
        ann.type("hello" + ENTER)
        assert next_text(bob) == "hello"
        if notice:
            ann.see("the lines that you type cannot be kept", "the session cannot be saved")
        ann.type("/quit" + ENTER)
        assert ann.exit_code() == 0
    assert not Path("relative").exists()
    assert not Path("~").exists()


@pytest.mark.skipif(
    not strangers_may_run(), reason="only root can take a user id without an account, where others may read"
)
def test_user_without_an_account_can_chat(server: Any, terminal: Any) -> None:
    with Client("uid-bob", server.address, rooms=["uid"]) as bob:
        shell = terminal.shell(
            "env -u HOME -u XDG_STATE_HOME -u LOGNAME -u USER "
            "setpriv --reuid 54321 --regid 54321 --clear-groups "
            f'"$(command -v chat-client)" --server {server.address} --username uid-ann --room uid'
        )
        shell.see("there is no home folder", "uid> ")
        shell.type("hello" + ENTER)
        assert next_text(bob) == "hello"
        assert "Traceback" not in shell.raw

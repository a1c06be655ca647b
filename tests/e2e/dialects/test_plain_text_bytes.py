"""Plain text, by the bytes that telnet and Windows files send."""

import socket

import pytest

from support.processes.fixtures import Connect, Dial
from support.processes.peer import unique_name
from support.processes.process import ServerProcess
from support.processes.wire import RawConnection

BOM = b"\xef\xbb\xbf"


def plain(server: ServerProcess, dial: Dial, first: bytes = b"/nick ") -> tuple[RawConnection, str]:
    """Return a plain-text user that has its name."""
    wire, name = dial(server), unique_name("tel")
    wire.send(first + name.encode() + b"\r\n")
    while not wire.read_line().endswith(f"is now {name}".encode()):
        pass
    return wire, name


@pytest.mark.parametrize(
    "before", [b" ", b"\t", "\xa0".encode(), BOM, "\u200b".encode(), "\u3000\u2060".encode()], ids=ascii
)
def test_a_private_command_behind_blanks_is_private(
    server: ServerProcess, dial: Dial, connect: Connect, before: bytes
) -> None:
    ann, bob = connect(server, unique_name("ann")), connect(server, unique_name("bob"))
    wire, _ = plain(server, dial, first=before + b"/nick ")  # the first line of a Windows file, too
    wire.send(before + f"/msg {ann.username} my secret\n".encode())
    assert ann.expect("message", message="my secret")["room"].startswith("@")
    wire.send(before + b"/mgs ann my secret\n" + before + b"/msg\n" + before + b"//fence\n")
    assert all("secret" not in text for _, text in bob.said_until("/fence"))


def test_telnet_is_answered_and_its_lines_stay_whole(
    server: ServerProcess, dial: Dial, connect: Connect
) -> None:
    ann = connect(server, unique_name("ann"))
    wire = dial(server)
    # Given window size and terminal type as the first bytes, in pieces
    for piece in (b"\xff\xfb\x1f\xff", b"\xfa\x1f\x00\x50\x00\n\xff", b"\xf0\xff\xfd\x03hi", b"\r", b"\x00"):
        wire.send(piece)
    answers = b""
    while len(answers) < 6 and (more := wire.sock.recv(6 - len(answers))):
        answers += more
    assert answers == b"\xff\xfe\x1f\xff\xfc\x03"
    assert ann.said_until("hi")
    # When the user presses Ctrl-C, whose data mark is urgent, and asks whether anybody is there
    wire.send(b"\xff\xf4\xff")
    wire.sock.send(b"\xf2", socket.MSG_OOB)
    wire.send(b"\xff\xfd\x06")
    wire.send(b"agaix\xff\xf7n\r\n\xff\xf6")
    assert ann.said_until("again")[-1] == ("lobby", "again")
    seen = b""
    while b"* the server is here\n" not in seen:
        seen += wire.read_line() + b"\n"
    assert b"\xff\xfc\x06" in seen
    assert b"not UTF-8" not in seen


def test_a_flood_of_telnet_requests_is_answered_with_as_many_bytes(
    server: ServerProcess, dial: Dial, connect: Connect
) -> None:
    ann = connect(server, unique_name("ann"))
    wire, _ = plain(server, dial)
    flood = b"\xff\xfd\x06" * 20_000 + b"\xff\xfe\x06\xff\xfc\x06" * 5000 + b"\xff\xf6" * 5000
    wire.send(flood)
    wire.send(b"still here\n")
    assert ann.said_until("still here")
    wire.half_close()
    answers = wire.read_to_end()
    assert answers.count(b"\xff\xfc\x06") == 20_000
    assert len(answers) < len(flood)


def test_an_endless_subnegotiation_is_the_end(server: ServerProcess, dial: Dial) -> None:
    wire, _ = plain(server, dial)
    wire.send(b"\xff\xfa" + b"\n" * 70_000)
    assert b"longer than 65536 bytes" in wire.read_to_end()


def test_what_turns_hides_or_acts_is_shown_as_replaced(
    server: ServerProcess, dial: Dial, connect: Connect
) -> None:
    wire, _ = plain(server, dial)
    ann = connect(server, unique_name("ann"))
    hostile = "a\u202eb\u2066c\u200bd\ufeffe\u2028f\ng\th \U0001f469\u200d\U0001f4bb"
    ann.say(hostile)
    while b"a\xef\xbf\xbdb" not in (line := wire.read_line()):
        pass
    assert line.decode().endswith(f"{ann.username}: a\ufffdb\ufffdc\ufffdd\ufffde")
    assert wire.read_line().decode() == "    f"
    assert wire.read_line().decode() == "    g\th \U0001f469\u200d\U0001f4bb"

"""`send` and `tail` over a restart of the server, or its end."""

import json
import signal
from typing import Any

from chat_client import Client


def test_send_over_restarts_loses_nothing(start_server: Any, spawn: Any) -> None:
    server = start_server()
    lines = [f"line {number}" for number in range(300)]
    with Client("look", server.address, rooms=["r"], reconnect=True, timeout=60) as look:
        send = spawn("send", "--server", server.address, "--room", "r", "--timeout", "60")
        for part in range(3):
            send.stdin.write("".join(f"{line}\n" for line in lines[part * 100 : part * 100 + 100]))
            send.stdin.flush()
            while getattr(look.next_event(60), "message", "") != f"line {part * 100}":
                pass
            if part < 2:
                server.kill()
                server.start()
        send.stdin.close()
        assert (send.wait(60), send.stderr.read()) == (0, "")
        assert [event.message for event in look.history("r", after=0, limit=None)] == lines
        assert [user.username for user in look.who()] == ["look"]  # it has sent quit


def test_send_to_a_server_that_stays_down_exits_3(start_server: Any, spawn: Any) -> None:
    server = start_server()
    with Client("look", server.address) as look:
        send = spawn("send", "--server", server.address, "--timeout", "1")
        send.stdin.write("first\n")
        send.stdin.flush()
        while getattr(look.next_event(60), "message", "") != "first":
            pass
    server.kill()
    send.stdin.write("second\nthird\n")
    send.stdin.close()
    assert send.wait(60) == 3
    error = send.stderr.read()
    assert "not connected: " in error
    assert "2 messages were not acknowledged, from line 2, 'second' on" in error
    assert "Traceback" not in error


def test_send_when_interrupted_reports_unacknowledged_messages(start_server: Any, spawn: Any) -> None:
    server = start_server()
    with Client("look", server.address) as look:
        send = spawn("send", "--server", server.address, "--timeout", "60")
        send.stdin.write("first\n")
        send.stdin.flush()
        while getattr(look.next_event(60), "message", "") != "first":
            pass
        server.freeze()
        send.stdin.write("second\n")
        send.stdin.close()
        send.send_signal(signal.SIGTERM)
        assert send.wait(60) == 130
        assert "interrupted" in send.stderr.read()
        server.thaw()


def test_tail_reports_a_reconnect(start_server: Any, spawn: Any) -> None:
    server = start_server()
    tail = spawn("tail", "--server", server.address, "--json", "--reconnect", "--since", "0")
    with Client("writer", server.address, reconnect=True, timeout=60) as writer:
        writer.say("one")
        assert json.loads(tail.stdout.readline())["message"] == "one"
        server.kill()
        server.start()
        writer.say("two")
        assert json.loads(tail.stdout.readline())["message"] == "two"
        while "back after" not in (said := tail.stderr.readline()):
            assert "trying again" in said

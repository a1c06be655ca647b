"""The command `chat-server`: start, refused arguments, connection limits."""

import os
import socket
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.process import ServerProcess

# Starting


def test_the_banner_says_where_and_how(start_server: StartServer, connect: Connect) -> None:
    server = start_server()
    said = server.stderr_text()
    assert f"listens on 127.0.0.1:{server.port}" in said
    assert str(server.data / "greenroom.db") in said
    assert f"chat-client --port {server.port}" in said
    assert f"nc 127.0.0.1 {server.port}" in said
    assert "Ctrl-C" in said
    ann = connect(server, "ann")
    ann.say("hi")
    ann.close()
    assert server.stop() == 0
    assert server.stderr_text() == said


def test_the_banner_says_so_where_nothing_is_kept(start_server: StartServer) -> None:
    server = start_server("--store", "memory")
    assert "lost when it stops" in server.stderr_text()
    assert not server.data.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--workers", "2"], ["--workers", "'2'", "only one worker"]),
        (["--prot", "1"], ["--prot", "did you mean --port?"]),
        (["--port", "70000"], ["--port", "70000", "65535"]),
        (["--rate-messages", "many"], ["--rate-messages", "many", "number"]),
        (["--sync", "sometimes"], ["--sync", "normal or full"]),
        (["--store", "postgres://me:hush@db/x"], ["--store", "memory"]),
        (["--config", "/no/such/file.toml"], ["/no/such/file.toml"]),
        (["--console"], ["terminal"]),
        (["--port"], ["--port"]),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_a_wrong_setting(start_server: StartServer, flags: list[str], words: list[str]) -> None:
    server = start_server(*flags, wait=False)
    assert server.wait_exit() == 2
    said = server.stderr_text()
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert "hush" not in said


def test_a_wrong_setting_in_the_environment_or_the_file(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(environ={"CHAT_RATE_BYTES": "lots"}, wait=False)
    assert server.wait_exit() == 2
    assert "CHAT_RATE_BYTES" in server.stderr_text()
    file = tmp_path / "settings.toml"
    file.write_text("rate-bites = 1\n")
    server = start_server("--config", str(file), wait=False)
    assert server.wait_exit() == 2
    assert "rate-bites" in server.stderr_text()
    assert "rate-bytes" in server.stderr_text()


def test_flag_before_environment_before_file(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('store = "memory"\nmax-rooms = 11\nmax-conversations = 11\nrate-messages = 11\n')
    environ = {"CHAT_CONFIG": str(file), "CHAT_MAX_CONVERSATIONS": "12", "CHAT_RATE_MESSAGES": "12"}
    server = start_server("--rate-messages", "13", environ=environ)
    limits = connect(server).hello("ann")["limits"]
    assert (limits["rooms"], limits["conversations"], limits["messages_per_second"]) == (11, 12, 13)


@pytest.mark.parametrize(("flag", "word"), [("--help", "--max-connections-per-address"), ("--version", "0.")])
def test_help_and_version(start_server: StartServer, flag: str, word: str) -> None:
    server = start_server(flag, wait=False)
    assert server.wait_exit() == 0
    assert word in server.raw_log()
    assert server.stderr_text() == ""


def cannot_start(server: ServerProcess) -> str:
    """Return its error message, which must be one line."""
    assert server.wait_exit() == 1
    said = server.stderr_text()
    assert said.startswith("chat-server: ")
    assert said.count("\n") == 1, said
    return said


def test_a_port_in_use(start_server: StartServer) -> None:
    port = str(start_server("--store", "memory").port)
    said = cannot_start(start_server("--port", port, wait=False))
    assert port in said
    assert "in use" in said


def test_a_host_that_is_not_ours(start_server: StartServer) -> None:
    assert "192.0.2.1" in cannot_start(start_server("--host", "192.0.2.1", wait=False))
    assert "no.such.invalid" in cannot_start(start_server("--host", "no.such.invalid", wait=False))


def test_a_folder_that_cannot_be_written(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for folder in (file, file / "below", Path("/proc/no-such-folder")):
        assert str(folder) in cannot_start(start_server("--data-dir", str(folder), wait=False))
    assert "/proc" in cannot_start(start_server("--store", "sqlite:////proc/none/x.db", wait=False))
    assert str(file) in cannot_start(start_server("--store", f"sqlite:///{file}", wait=False))
    assert file.read_text() == "not a folder"
    assert str(file) in cannot_start(start_server("--log-file", str(file / "log"), wait=False))


def test_a_data_folder_in_use(start_server: StartServer, connect: Connect) -> None:
    server = start_server()
    said = cannot_start(start_server("--data-dir", str(server.data), wait=False))
    assert str(server.process.pid) in said
    connect(server, "ann").say("undisturbed")


def test_ipv6(start_server: StartServer, connect: Connect) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    for host in ("::1", "[::1]"):
        server = start_server("--host", host, "--store", "memory")
        assert f"[::1]:{server.port}" in server.stderr_text()
        ann = connect(server, "ann", wire={"host": "::1"})
        ann.say("hi")
        assert ann.ask("servers")["servers"][0]["address"] == f"[::1]:{server.port}"
        assert server.wait_logged("session_opened")["address"].startswith("[::1]:")


# Connections


def test_connections_over_max_connections_get_bye(start_server: StartServer, connect: Connect) -> None:
    # Given a server with a limit of two connections
    server = start_server("--max-connections", "2", "--store", "memory", "--log-interval", "0.2")
    ann, bob = connect(server, "ann"), connect(server, "bob")

    # When more connect, silent or with an immediate hello
    for said in (b"", b'{"type":"hello","username":"cat"}\n'):
        late = connect(server)
        late.send(said)
        bye = late.expect_bye()
        assert bye["reason"] == "too_many_connections"
        assert bye["after"] > 0
        assert bye["message"]

    # Then the first two are not affected, and the log has the refusal
    ann.say("cosy")
    assert server.wait_logged("connection_refused")["address"].startswith("127.0.0.1")

    # And when one leaves, another is accepted
    bob.send_frame("quit")
    bob.expect_bye()
    bob.close()
    server.wait_logged("session_closed", username=bob.username)
    for _ in range(100):
        cat = connect(server)
        cat.send_frame("hello", username="cat")
        if cat.next_frame()["type"] == "welcome":
            break
    else:
        raise AssertionError("the free place was not reused")


def test_connections_of_one_address(start_server: StartServer, connect: Connect) -> None:
    # Given a limit per address that applies to loopback, or not
    flags = ("--max-connections-per-address", "2", "--store", "memory")
    exempt, held = start_server(*flags), start_server(*flags, "--limit-loopback")

    # Then it is enforced, or not
    for _ in range(4):
        connect(exempt, "ann").say("hi")
    people = [connect(held, "ann") for _ in range(2)]
    assert connect(held).expect_bye()["reason"] == "too_many_connections"
    people[0].say("hi")
    other = connect(held)
    assert other.expect_bye()["message"]


def test_out_of_descriptors(start_server: StartServer, connect: Connect) -> None:
    # Given a server with few descriptors
    server = start_server("--store", "memory", open_files=100)

    # When more connect than it has, then each gets welcome or bye
    ends: list[str] = []
    for _ in range(120):
        peer = connect(server)
        peer.send_frame("hello", username=f"user{len(ends)}")
        ends.append(peer.next_frame()["type"])
    assert ends.count("welcome") == 100 - 64
    assert set(ends) == {"welcome", "bye"}

    # And it continues to work
    connect(server).expect_bye()
    assert server.stderr_text().count("\n") == 3  # the banner


def test_it_raises_its_own_descriptor_limit(start_server: StartServer) -> None:
    pid = start_server("--store", "memory").process.pid
    line = next(
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max open")
    )
    soft, hard = line.split()[3:5]
    assert soft == hard


# A log that is not read


@pytest.mark.parametrize("gone", [False, True], ids=["full pipe", "closed pipe"])
def test_standard_output_that_is_not_read(start_server: StartServer, connect: Connect, *, gone: bool) -> None:
    # Given a server whose log goes into a pipe without a reader
    reading, writing = os.pipe()
    flags = ("--store", "memory", "--log-messages", "--rate-messages", "0", "--drain-timeout", "0.2")
    server = start_server(*flags, stdout=writing, wait=False)
    os.close(writing)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(reading, 1)
    server.port = int(line.partition(b'"port":')[2].partition(b",")[0])
    if gone:
        os.close(reading)

    # When far more is logged than the pipe holds
    ann, bob = connect(server, "ann"), connect(server, "bob")
    for number in range(2000):
        ann.send_frame("message", message="m", ref=f"r{number}")

    # Then the chat goes on, and the server can be stopped
    for one in (ann, bob):
        one.expect("message", ref="r1999")
        one.close()
    assert server.stop() == 0
    assert "cannot write the log" in server.stderr_text()
    if not gone:
        os.close(reading)


def test_a_slow_reader_holds_up_nobody(start_server: StartServer, connect: Connect) -> None:
    # Given a client that reads nothing, and others that do
    flags = ("--store", "memory", "--rate-messages", "0", "--rate-bytes", "0", "--outbox-bytes", "64K")
    server = start_server(*flags)
    slow = connect(server, "slow", wire={"receive_buffer": 4096})
    ann, bob = connect(server, "ann"), connect(server, "bob")

    # When far more is sent than the buffers to the first hold
    for number in range(1500):
        ann.send_frame("message", message="x" * 8000, ref=f"r{number}")
        for one in (ann, bob):
            assert one.expect("message", ref=f"r{number}")["seq"] == number + 1

    # Then the others have everything, and the lagging session is listed with its lag
    (user,) = [user for user in ann.ask("who")["users"] if user["username"] == slow.username]
    assert 0 < user["behind"] <= 1500
    lagging = server.wait_logged("reader_lagging", username=slow.username)
    assert 0 < lagging["behind"] <= 1500
    assert lagging["waiting_bytes"] > 0

    # And when the first reads, it gets everything, then live messages
    for number in range(1500):
        assert slow.expect("message")["seq"] == number + 1
    assert server.wait_logged("reader_caught_up", username=slow.username)["messages"] > 0
    ann.send_frame("message", message="live")
    assert slow.expect("message")["message"] == "live"
    assert "behind" not in str(ann.ask("who"))

"""Where the server listens, and what it says about that."""

import socket
import subprocess
from pathlib import Path

import pytest

from chat_server.net.interfaces import own_addresses
from support.processes.fixtures import StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment
from support.processes.start import SERVER

OPEN = "Everybody that can reach this port is let in, without a password. Everything is sent in clear text."


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    "hosts", ["::1 localhost\n127.0.0.1 localhost\n", "127.0.0.1 localhost\n::1 localhost\n"]
)
def test_host_name_is_listened_on_at_all_its_addresses(tmp_path: Path, hosts: str) -> None:
    # Given a name with an IPv6 and an IPv4 address
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode or not has_ipv6():
        pytest.skip("no namespaces for this user, or no IPv6")
    (tmp_path / "hosts").write_text(hosts)
    inside = ["sh", "-c", f'mount --bind {tmp_path}/hosts /etc/hosts && exec "$@"', "sh"]

    # When a server listens on it
    server = [SERVER, "--host", "localhost", "--port", "0", "--store", "memory"]
    with subprocess.Popen(
        [*unshare, *inside, *server],
        env=clean_environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        port = first.partition("localhost:")[2].partition(".")[0]

        # Then clients reach it by the name, and at each address
        client = [str(BIN_DIR / "chat-client"), "send", "--host", "localhost", "--port", port, "hi"]
        command = [*unshare, *inside, *client]
        done = subprocess.run(command, env=clean_environment(tmp_path), timeout=TIMEOUT_S, check=False)
        for host in ("127.0.0.1", "::1"):
            with NdjsonPeer(int(port), host=host) as ann:
                ann.hello("ann")
        process.terminate()
        rest = process.stderr.read()
    assert (done.returncode, process.returncode) == (0, 0)
    assert "password" not in rest


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_server_that_is_open_to_others_says_so_with_addresses(start_server: StartServer, host: str) -> None:
    if host == "::" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = start_server("--host", host, "--store", "memory")
    said = server.stderr_text()
    assert OPEN in said.splitlines()
    assert f"nc 127.0.0.1 {server.port}" in said
    shown = [one for one in own_addresses() if host == "::" or ":" not in one][:4]
    for address in shown:
        port = server.port
        line = f"From elsewhere: chat-client --host {address} --port {port}   or: nc {address} {port}"
        assert line in said.splitlines()
    assert ("From elsewhere: " in said) or not shown
    with NdjsonPeer(server.port) as ann:
        ann.hello("ann")


def test_server_of_this_machine_alone_does_not_warn(start_server: StartServer) -> None:
    assert "password" not in start_server("--store", "memory").stderr_text()


def test_own_addresses_are_ones_that_others_may_use() -> None:
    for address in own_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))  # it belongs to this machine
        assert not address.startswith(("127.", "fe80:", "::1"))


# ---- --check


def check(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SERVER, "--check", *flags],
        env=clean_environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_check_prints_what_would_be_used_and_makes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("max-rooms = 5\n")
    before = sorted(tmp_path.rglob("*"))
    done = check(tmp_path, "--config", str(file), "--port", "7999", "--data-dir", str(tmp_path / "data"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "port = 7999   (--port)" in lines
    assert f"max-rooms = 5   ({file}: max-rooms)" in lines
    assert "sync = normal   (default)" in lines
    assert f"store = sqlite:///{tmp_path}/data/greenroom.db   (default)" in lines
    assert lines[-1] == "The settings are valid."
    assert sorted(tmp_path.rglob("*")) == before


def test_check_beside_a_running_server_disturbs_nothing(tmp_path: Path, start_server: StartServer) -> None:
    server = start_server()
    done = check(tmp_path, "--port", str(server.port), "--data-dir", str(server.data))
    assert done.returncode == 0, done.stdout
    with NdjsonPeer(server.port) as ann:
        ann.hello("ann")
        ann.say("hi")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--sync", "x"), "--sync: must be normal or full"),
        (("--host", "no.such.invalid"), "--host no.such.invalid: "),
        (("--store", "sqlite:////dev/null"), "it is not a regular file"),
        (("--data-dir", "/dev/null/x"), "Not a directory"),
        (("--store", "memory", "--log-file", "/no/such/folder/log"), "there is no folder /no/such/folder"),
        (("--store", "memory", "--log-file", "/"), "it is a folder"),
    ],
)
def test_check_of_what_cannot_work_ends_with_2(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    done = check(tmp_path, *flags)
    assert done.returncode == 2
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

"""The server's process is found by its port and sampled, and its end is noticed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from chat_swarm.runner.server_probe import CHILD_SCAN_SAMPLES, ProbeError, ServerProbe, find_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LISTENS = """
import os, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 0), family=family)
print(listener.getsockname()[1], flush=True)
for line in sys.stdin:
    if line == "open\\n":
        held = [os.dup(0) for _ in range(100)]
    elif line == "burn\\n":
        while os.times().user < 0.15:
            pass
    elif line == "fork\\n":
        child = os.fork()
        if child == 0:
            held = bytearray(os.urandom(32 << 20))
            print("forked", flush=True)
            os.read(0, 1)
            os._exit(0)
        continue
    print("done", flush=True)
"""


class Listener:
    """A process with a listening socket that executes commands from its stdin."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.pid = process.pid
        self.port = int(self.says())

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.says()


@contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[Listener]:
    command = [sys.executable, "-c", LISTENS, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Listener(process)
        finally:
            for child in psutil.Process(process.pid).children() if process.poll() is None else []:
                child.kill()
            process.kill()


@pytest.mark.parametrize(
    ("bound", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.3", "127.0.0.3"),
    ],
)
def test_find_server_on_this_machine_finds_it_by_port(bound: str, host: str) -> None:
    with listening(bound) as listener:
        assert find_server(host, listener.port) == listener.pid


def test_find_server_over_ipv6_finds_it() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with listening("::1") as listener:
        assert find_server("::1", listener.port) == listener.pid


def test_find_server_with_a_shared_socket_returns_the_parent() -> None:
    with listening() as listener:
        assert listener.ask("fork") == "forked"
        assert find_server("127.0.0.1", listener.port) == listener.pid


def test_find_server_ignores_other_addresses() -> None:
    with listening("127.0.0.3") as listener:
        assert find_server("127.0.0.1", listener.port) is None
        assert find_server("192.0.2.1", listener.port) is None
        assert find_server("no.such.host.invalid", listener.port) is None


def test_find_server_ignores_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        assert find_server("127.0.0.1", own.getsockname()[1]) is None


def test_sample_has_cores_memory_and_descriptors() -> None:
    with listening() as listener:
        probe = ServerProbe(listener.pid)
        assert LISTENS.strip().splitlines()[0] in probe.command
        before = probe.sample()
        assert before is not None
        assert listener.ask("open") == "done"
        assert listener.ask("burn") == "done"
        after = probe.sample()
        assert after is not None
        assert after.descriptors == before.descriptors + 100
        assert after.rss_bytes > 4 << 20
        assert after.cpu > 0  # how much depends on other load


def test_sample_includes_children() -> None:
    with listening() as listener:
        probe = ServerProbe(listener.pid)
        before = probe.sample()
        assert listener.ask("fork") == "forked"
        samples = [probe.sample() for _ in range(CHILD_SCAN_SAMPLES)]
        assert before is not None
        assert samples[-1] is not None
        assert samples[-1].rss_bytes > before.rss_bytes + (32 << 20)
        assert samples[-1].descriptors > before.descriptors


def test_sample_of_an_ended_server_is_none() -> None:
    with listening() as listener:
        probe = ServerProbe(listener.pid)
        listener.process.kill()
        os.waitid(os.P_PID, listener.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert probe.sample() is None
        listener.process.wait()
        assert probe.sample() is None


def test_sample_of_a_reused_pid_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        probe = ServerProbe(listener.pid)
        assert probe.sample() is not None
        monkeypatch.setattr(probe._process, "_ident", (listener.pid, 1.0))  # as if begun at another time
        assert probe.sample() is None


@pytest.mark.parametrize("pid", [-1, 2**22 + 1, 2**70])
def test_probe_of_a_missing_process_raises(pid: int) -> None:
    with pytest.raises(ProbeError, match=rf"There is no process {pid} on this machine\."):
        ServerProbe(pid)


def test_probe_of_another_users_process_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(pid)

    monkeypatch.setattr("chat_swarm.runner.server_probe._descriptor_count", refuse)
    with pytest.raises(ProbeError, match="another user"):
        ServerProbe(os.getpid())

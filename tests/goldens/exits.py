"""Exit codes of the commands, and what they say when they give up."""

import re
import signal
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chat_server.engines.sqlite.schema import APPLICATION_ID
from goldens import old_data, old_run
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, ServerProcess, clean_environment
from support.processes.scrape import free_port

LOG = str(old_data.DATA / "server.log")
RUN = str(old_run.DATA)


class Exit(NamedTuple):
    """How a command ended."""

    name: str
    code: int
    said: str
    """The last line on standard error that is the program's own."""


class Try(NamedTuple):
    """A command that is to be run."""

    name: str
    command: str
    """Program and arguments, separated by spaces, with `{…}` for what is known only then."""
    stdin: str = ""


TRIES = (
    Try("help", "chat-server --help"),
    Try("version", "chat-server --version"),
    Try("unknown flag", "chat-server --prot 1"),
    Try("flag without its value", "chat-server --port"),
    Try("wrong number", "chat-server --port 70000"),
    Try("wrong choice", "chat-server --sync sometimes"),
    Try("two workers", "chat-server --workers 2"),
    Try("wrong store", "chat-server --store postgres://me:hush@db/x"),
    Try("no such file of settings", "chat-server --config {folder}/none.toml"),
    Try("file of settings with a wrong key", "chat-server --config {folder}/wrong.toml"),
    Try("console without a terminal", "chat-server --console"),
    Try("port in use", "chat-server --store memory --port {port}"),
    Try("host of another machine", "chat-server --store memory --port 0 --host 192.0.2.1"),
    Try("metrics port in use", "chat-server --store memory --port 0 --metrics-port {port}"),
    Try("data file in use", "chat-server --port 0 --data-dir {data}"),
    Try("newer schema", "chat-server --port 0 --store sqlite:///{folder}/newer.db"),
    Try("no data file", "chat-server --port 0 --store sqlite:///{folder}/wrong.toml"),
    Try("folder that cannot be made", "chat-server --port 0 --data-dir {folder}/wrong.toml/below"),
    Try(
        "log that cannot be written", "chat-server --port 0 --store memory --log-file {folder}/wrong.toml/log"
    ),
    Try("help", "chat-client --help"),
    Try("unknown flag", "chat-client --nam x"),
    Try("no terminal", "chat-client"),
    Try("wrong name", "chat-client send --username guest,1 hi"),
    Try("wrong room", "chat-client send --room two,words hi"),
    Try("nobody listens", "chat-client send --port {free} hi"),
    Try("nobody listens", "chat-client tail --port {free}"),
    Try("nobody listens", "chat-client rtt --port {free} -c 1"),
    Try("no answer", "chat-client send --port {silent} --timeout 0.3 hi"),
    Try("sent", "chat-client send --port {port} --username sender hi"),
    Try("sent by lines", "chat-client send --port {port} --username lines", "one\ntwo\n"),
    Try("no such user", "chat-client send --port {port} --username seeker --to zoe hi"),
    Try("name taken", "chat-client send --port {port} --username ann hi"),
    Try("some pings", "chat-client rtt --port {port} -c 2 -i 0.01"),
    Try("old messages", "chat-client tail --port {port} --since 0 -n 1"),
    Try("help", "chat-logs --help"),
    Try("no report", "chat-logs"),
    Try("unknown report", "chat-logs weather {log}"),
    Try("no such file", "chat-logs summary {folder}/none.log"),
    Try("wrong SQL", "chat-logs sql selct {log}"),
    Try("wrong time", "chat-logs summary --since tuesday {log}"),
    Try("fine", "chat-logs summary {log}"),
    Try("nothing to report", "chat-logs errors {log}"),
    Try("no bound broken", "chat-logs audit --fail-if wrong {log}"),
    Try("bound broken", "chat-logs compare --fail-if latency.p99>-90% {log} {log}"),
    Try("help", "chat-swarm --help"),
    Try("no sub-command", "chat-swarm"),
    Try("locustfile", "chat-swarm locustfile"),
    Try("no run", "chat-swarm report {folder}"),
    Try("wrong SLO", "chat-swarm slo {run} delivery.p98"),
    Try("SLO held", "chat-swarm slo {run} lost=0"),
    Try("SLO broken", "chat-swarm slo {run} delivery.p50<1us"),
    Try("nothing worse", "chat-swarm compare {run} {run}"),
    Try("wrong bound", "chat-swarm compare --fail-if x>1 {run} {run}"),
)


@cache
def ends(folder: Path) -> list[Exit]:
    """Run all of them; return how each ended."""
    (folder / "wrong.toml").write_text("rate-bites = 1\n")
    with closing(sqlite3.connect(folder / "newer.db")) as newer:
        newer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        newer.execute("PRAGMA user_version = 999")
    server = ServerProcess(folder)
    try:
        with NdjsonPeer(server.port) as ann, socket.create_server(("127.0.0.1", 0)) as silent:
            ann.send_frame("hello", username="ann")
            ann.id = ann.expect("welcome")["id"]
            ann.say("hello")
            known = {"folder": folder, "port": server.port, "free": free_port(), "data": server.data}
            known |= {"silent": silent.getsockname()[1], "log": LOG, "run": RUN}
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda one: _try(one, folder, known), TRIES))
            ann.send_frame("quit")
            ann.expect_bye()
        return [*found, *_signals(folder, server)]
    finally:
        server.kill()


def _try(one: Try, folder: Path, known: dict[str, object]) -> Exit:
    name, *arguments = one.command.split()
    done = subprocess.run(
        [BIN_DIR / name, *(argument.format_map(known) for argument in arguments)],
        env=clean_environment(folder) | {"COLUMNS": "200", "NO_COLOR": "1"},
        input=one.stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * 2,
        check=False,
    )
    own = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")]
    said = own[-1] if own else ""
    if " error: argument " in said or " error: the following arguments " in said:
        said = "(in the words of argparse)"
    for word, value in known.items():
        said = re.sub(rf"(?<![\w.]){re.escape(str(value))}(?!\d)", f"{{{word}}}", said)
    said = re.sub(r"process id \d+", "process id N", re.sub(r"\d+\.\d{4,} s\b", "N s", said))
    return Exit(f"{one.command}: {one.name}", done.returncode, said)


def _signals(folder: Path, server: ServerProcess) -> list[Exit]:
    """Return what signals end with: a server, stopped once and twice, and clients."""
    found = []
    for number in (signal.SIGTERM, signal.SIGINT):
        found.append(Exit(f"chat-server: {number.name}", server.stop(number), ""))
        server.start()
    for command in ("rtt", "tail"):
        client = subprocess.Popen(
            [BIN_DIR / "chat-client", command, "--port", str(server.port), "--username", f"{command}er"],
            env=clean_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            server.wait_logged("session_opened", username=f"{command}er")
            time.sleep(0.2)  # until it waits
            client.send_signal(signal.SIGINT)
            found.append(Exit(f"chat-client {command}: SIGINT", client.wait(TIMEOUT_S), ""))
        finally:
            client.kill()
            client.wait()
    return found


def codes(folder: Path) -> str:
    """Return the exit codes."""
    return "\n".join(f"{one.code:>3}  {one.name}" for one in ends(folder))


def sentences(folder: Path) -> str:
    """Return what is said on standard error."""
    return "\n".join(f"{one.name}\n  {one.said}" for one in ends(folder) if one.said)

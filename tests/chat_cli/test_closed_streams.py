"""Closed, full and broken standard streams, of every subcommand: a sentence and the documented exit code."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from goldens.reports import LOG, REPORTS, RUN
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, ServerProcess, clean_environment
from support.processes.scrape import free_port

PRINTING = {
    **{f"logs {report}": f"chat-logs {report} --bad-lines {{bad_log}}" for report in REPORTS},
    "logs json": f"chat-logs --json summary {LOG}",
    "logs csv": f"chat-logs --csv summary {LOG}",
    "logs compare": f"chat-logs compare {LOG} {LOG}",
    "logs sql": f"chat-logs sql SELECT+count(*)+FROM+lines {LOG}",
    "logs follow": "chat-logs follow -",
    "logs help": "chat-logs --help",
    "swarm compare": f"chat-swarm compare {RUN} {RUN}",
    "swarm slo": f"chat-swarm slo {RUN} lost=0",
    "swarm broken slo": f"chat-swarm slo {RUN} delivery.p50<1us",
    "swarm locustfile": "chat-swarm locustfile",
    "swarm help": "chat-swarm --help",
    "client tail": "chat-client tail --port {port} --since 0 -n 1",
    "client tail json": "chat-client tail --port {port} --since 0 -n 1 --json",
    "client rtt": "chat-client rtt --port {port} -c 1",
    "client help": "chat-client send --help",
    "client version": "chat-client --version",
}
"""Commands that print, by name; `+` is a space inside an argument."""
ONE_OF_EACH = [name for name in PRINTING if name not in {f"logs {report}" for report in REPORTS[1:]}]
"""All reports of `chat-logs` print by the same lines: only what may fail in the middle is tried with each."""
SILENT = {
    "client send": ("chat-client send --port {port} hi", 0),
    "client no connection": ("chat-client send --port {free} hi", 3),
    "client tail no connection": ("chat-client tail --port {free}", 3),
    "client rtt no connection": ("chat-client rtt --port {free} -c 1", 3),
    "client refused": ("chat-client send --port {port} --to nobody hi", 4),
    "client usage": ("chat-client send --prot 1 hi", 2),
    "client no terminal": ("chat-client --port {port}", 2),
    "logs no file": ("chat-logs summary {folder}/none.log", 2),
    "logs usage": ("chat-logs weather", 2),
    "logs page": ("chat-logs report --html {folder}/page.html " + LOG, 0),
    "swarm no run": ("chat-swarm report {folder}", 2),
    "swarm usage": ("chat-swarm slo", 2),
}
"""Commands that print nothing on standard output, and their exit codes."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    folder = tmp_path_factory.mktemp("streams")
    server = ServerProcess(folder)
    with NdjsonPeer(server.port) as ann:
        ann.hello("ann")
        ann.say("hello")
        bad_log = folder / "bad.log"  # each report has at least the table of the bad line to print
        bad_log.write_text(Path(LOG).read_text() + "garbage\n")
        yield {"port": server.port, "free": free_port(), "folder": folder, "bad_log": bad_log}
    assert server.stop() == 0


def run(
    command: str, known: dict[str, object], redirection: str, stdin: str = "< /dev/null"
) -> tuple[int, str]:
    """Run a command in a shell; return its exit code, and what it said on standard error."""
    program, *words = [word.format_map(known).replace("+", " ") for word in command.split()]
    folder = Path(str(known["folder"]))
    errors = folder / "errors"
    errors.write_text("")
    source = f"< {LOG}" if "follow" in command and stdin == "< /dev/null" else stdin
    line = f'"$@" {source} {redirection}'
    with errors.open("a") as file:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line, "bash", str(BIN_DIR / program), *words],
            env=clean_environment(folder) | {"COLUMNS": "100"},
            stdout=subprocess.DEVNULL,
            stderr=file,
            timeout=TIMEOUT_S * 3,
            check=False,
        )
    said = errors.read_text()
    assert "Traceback" not in said
    assert "Exception" not in said
    return done.returncode, said


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_closed_output_is_a_failure_of_all_but_the_client(known: dict[str, object], name: str) -> None:
    code, said = run(PRINTING[name], known, ">&-")
    if name.startswith("client"):
        assert (code, said) == (0, "")
    else:
        assert code == 2
        assert "cannot write to standard output: Bad file descriptor" in said


@pytest.mark.parametrize("name", PRINTING)
def test_full_output_is_a_failure(known: dict[str, object], name: str) -> None:
    code, said = run(PRINTING[name], known, "> /dev/full")
    assert code == 2
    assert "cannot write to standard output: No space left on device" in said
    assert len([line for line in said.splitlines() if "cannot write" in line]) == 1


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_pipe_without_a_reader_is_a_success(known: dict[str, object], name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program, *words = [word.format_map(known).replace("+", " ") for word in PRINTING[name].split()]
    with Path(LOG).open("rb") as log:
        done = subprocess.run(
            [BIN_DIR / program, *words],
            env=clean_environment(Path(str(known["folder"]))),
            stdin=log,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S * 3,
            check=False,
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", ">&- 2>&-", "< /dev/null >&- 2>&- <&-"])
@pytest.mark.parametrize("name", SILENT)
def test_errors_that_cannot_be_shown_change_no_exit_code(
    known: dict[str, object], name: str, redirection: str
) -> None:
    command, expected = SILENT[name]
    assert run(command, known, redirection)[0] == expected
    if name == "logs page":
        page = Path(str(known["folder"])) / "page.html"
        assert page.stat().st_size > 1_000_000
        page.unlink()


@pytest.mark.parametrize("name", SILENT)
def test_errors_into_a_pipe_without_a_reader_change_no_exit_code(known: dict[str, object], name: str) -> None:
    command, expected = SILENT[name]
    assert run(command, known, "2>&1 > /dev/null | true")[0] == expected


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("chat-client send --port {port}", "standard input is closed"),
        ("chat-client --port {port}", "not a terminal"),
        ("chat-logs summary -", "standard input is closed"),
        ("chat-logs follow -", "standard input is closed"),
        ("chat-logs report --html {folder}/page.html -", "standard input is closed"),
    ],
)
def test_closed_input_is_wrong_usage(known: dict[str, object], command: str, says: str) -> None:
    code, said = run(command, known, "", stdin="<&-")
    assert code == 2
    assert says in said


@pytest.mark.parametrize("command", ["chat-client send --port {port} hi", f"chat-logs summary {LOG}"])
def test_closed_input_that_is_not_read_does_no_harm(known: dict[str, object], command: str) -> None:
    assert run(command, known, "", stdin="<&-") == (0, "")


def test_input_that_cannot_be_read_is_wrong_usage(known: dict[str, object]) -> None:
    code, said = run("chat-client send --port {port}", known, "", stdin=f"0> {known['folder']}/written")
    assert code == 2
    assert "cannot read standard input: Bad file descriptor" in said


def test_file_opened_by_a_command_never_gets_the_number_of_a_closed_stream(known: dict[str, object]) -> None:
    """With all streams closed, what is printed must not land in a file that the command opens."""
    page = Path(str(known["folder"])) / "own.html"
    code, _ = run(f"chat-logs report --html {page} {LOG}", known, ">&- 2>&-", stdin="<&-")
    assert code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")

"""Closed, full and broken standard streams, of `chat-logs` and `chat-swarm`: a sentence and the exit code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from goldens.reports import LOG, REPORTS, RUN
from support.processes.closed_streams import WITHOUT_ERRORS, Known, run, run_without_reader, surroundings

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
}
"""Commands that print, by name."""
ONE_OF_EACH = [name for name in PRINTING if name not in {f"logs {report}" for report in REPORTS[1:]}]
"""All reports of `chat-logs` print by the same lines: only what may fail in the middle is tried with each."""
SILENT = {
    "logs no file": ("chat-logs summary {folder}/none.log", 2),
    "logs usage": ("chat-logs weather", 2),
    "logs page": ("chat-logs report --html {folder}/page.html " + LOG, 0),
    "swarm no run": ("chat-swarm report {folder}", 2),
    "swarm usage": ("chat-swarm slo", 2),
}
"""Commands that print nothing on standard output, and their exit codes."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with surroundings(tmp_path_factory.mktemp("streams")) as names:
        yield names


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_closed_output_is_a_failure(known: Known, name: str) -> None:
    code, said = run(PRINTING[name], known, ">&-")
    assert code == 2
    assert "cannot write to standard output: Bad file descriptor" in said


@pytest.mark.parametrize("name", PRINTING)
def test_full_output_is_a_failure(known: Known, name: str) -> None:
    code, said = run(PRINTING[name], known, "> /dev/full")
    assert code == 2
    assert "cannot write to standard output: No space left on device" in said
    assert len([line for line in said.splitlines() if "cannot write" in line]) == 1


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_pipe_without_a_reader_is_a_success(known: Known, name: str) -> None:
    assert run_without_reader(PRINTING[name], known) == (0, b"")


@pytest.mark.parametrize("redirection", WITHOUT_ERRORS)
@pytest.mark.parametrize("name", SILENT)
def test_errors_that_cannot_be_shown_change_no_exit_code(known: Known, name: str, redirection: str) -> None:
    command, expected = SILENT[name]
    assert run(command, known, redirection)[0] == expected
    if name == "logs page":
        page = Path(str(known["folder"])) / "page.html"
        assert page.stat().st_size > 1_000_000
        page.unlink()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("chat-logs summary -", "standard input is closed"),
        ("chat-logs follow -", "standard input is closed"),
        ("chat-logs report --html {folder}/page.html -", "standard input is closed"),
    ],
)
def test_closed_input_is_wrong_usage(known: Known, command: str, says: str) -> None:
    code, said = run(command, known, "", stdin="<&-")
    assert code == 2
    assert says in said


def test_closed_input_that_is_not_read_does_no_harm(known: Known) -> None:
    assert run(f"chat-logs summary {LOG}", known, "", stdin="<&-") == (0, "")


def test_file_opened_by_a_command_never_gets_the_number_of_a_closed_stream(known: Known) -> None:
    """With all streams closed, what is printed must not land in a file that the command opens."""
    page = Path(str(known["folder"])) / "own.html"
    code, _ = run(f"chat-logs report --html {page} {LOG}", known, ">&- 2>&-", stdin="<&-")
    assert code == 0
    assert page.read_text().startswith("<!DOCTYPE html>")

"""Closed, full and broken standard streams, of every subcommand: a sentence and the documented exit code."""

from collections.abc import Iterator

import pytest

from support.processes.closed_streams import WITHOUT_ERRORS, Known, run, run_without_reader, surroundings

PRINTING = {
    "tail": "chat-client tail --port {port} --since 0 -n 1",
    "tail json": "chat-client tail --port {port} --since 0 -n 1 --json",
    "rtt": "chat-client rtt --port {port} -c 1",
    "help": "chat-client send --help",
    "version": "chat-client --version",
}
"""Subcommands that print, by name."""
SILENT = {
    "send": ("chat-client send --port {port} hi", 0),
    "no connection": ("chat-client send --port {free} hi", 3),
    "tail no connection": ("chat-client tail --port {free}", 3),
    "rtt no connection": ("chat-client rtt --port {free} -c 1", 3),
    "refused": ("chat-client send --port {port} --to nobody hi", 4),
    "usage": ("chat-client send --prot 1 hi", 2),
    "no terminal": ("chat-client --port {port}", 2),
}
"""Subcommands that print nothing on standard output, and their exit codes."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with surroundings(tmp_path_factory.mktemp("streams")) as names:
        yield names


@pytest.mark.parametrize("name", PRINTING)
def test_closed_output_is_no_failure(known: Known, name: str) -> None:
    assert run(PRINTING[name], known, ">&-") == (0, "")


@pytest.mark.parametrize("name", PRINTING)
def test_full_output_is_a_failure(known: Known, name: str) -> None:
    code, said = run(PRINTING[name], known, "> /dev/full")
    assert code == 2
    assert "cannot write to standard output: No space left on device" in said
    assert len([line for line in said.splitlines() if "cannot write" in line]) == 1


@pytest.mark.parametrize("name", PRINTING)
def test_pipe_without_a_reader_is_a_success(known: Known, name: str) -> None:
    assert run_without_reader(PRINTING[name], known) == (0, b"")


@pytest.mark.parametrize("redirection", WITHOUT_ERRORS)
@pytest.mark.parametrize("name", SILENT)
def test_errors_that_cannot_be_shown_change_no_exit_code(known: Known, name: str, redirection: str) -> None:
    command, expected = SILENT[name]
    assert run(command, known, redirection)[0] == expected


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("chat-client send --port {port}", "standard input is closed"),
        ("chat-client --port {port}", "not a terminal"),
    ],
)
def test_closed_input_is_wrong_usage(known: Known, command: str, says: str) -> None:
    code, said = run(command, known, "", stdin="<&-")
    assert code == 2
    assert says in said


def test_closed_input_that_is_not_read_does_no_harm(known: Known) -> None:
    assert run("chat-client send --port {port} hi", known, "", stdin="<&-") == (0, "")


def test_input_that_cannot_be_read_is_wrong_usage(known: Known) -> None:
    code, said = run("chat-client send --port {port}", known, "", stdin=f"0> {known['folder']}/written")
    assert code == 2
    assert "cannot read standard input: Bad file descriptor" in said

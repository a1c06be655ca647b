"""docs/logs.md matches the columns, reports and options, and its commands work."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from chat_ops import cli, dispatch
from chat_ops.log.columns import COLUMNS
from chat_ops.reports import REPORTS
from chat_server.vocabulary import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ {4}(chat-logs .*?)(?: {2,}#.*)?$", PAGE, re.MULTILINE)


def test_the_columns_are_those_of_the_view() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([A-Z].*?) \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [*((name, kind, FIELDS[name]) for name, kind in COLUMNS.items()), rows[-1]]
    assert rows[-1][:2] == ("file", "VARCHAR")


def test_every_report_is_there_with_its_sentence() -> None:
    table = PAGE.partition("## The reports")[2].partition("\n\n`chat-logs")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)
    assert rows == [(name, report.HELP) for name, report in REPORTS.items()]


def test_every_option_that_is_named_exists() -> None:
    known = {"--log-file", "--log-interval", "--log-messages"}  # the server's
    parsers = [dispatch._parser()]
    for parser in parsers:
        for action in parser._actions:
            known.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(action.choices.values())
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if " follow " not in one and " report " not in one]
)
def test_every_command_works(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        '{"ts":"2026-11-21T09:30:16Z","level":"info","event":"interval","node":"a","messages":1,"interval_s":10,'
        '"closed":{"quit":1},"rooms":[{"room":"lobby","messages":1,"deliveries":2}]}\n'
    )
    for name in ("server.log", "server.log.1.gz"):
        (tmp_path / name).write_text(line)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    words = [word.replace("/var/log/greenroom", str(tmp_path)) for word in words]
    assert cli.main(words) == 0, capsys.readouterr().err


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) >= 10

"""The command line: exit codes, error messages, pipes and signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chat_ops import cli
from chat_ops.log.errors import BoundBrokenError
from chat_ops.reports import REPORTS
from chat_ops.table import ReportColumn, ReportTable
from support.log_files.log_lines import Template
from support.processes.process import BIN_DIR, eventually

COMMAND = str(BIN_DIR / "chat-logs")


def run(*words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False, **how
    )


def test_cli_report_is_printed(real_log: Path) -> None:
    done = run("summary", real_log)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("Period", "Activity", "Latency", "commit to sent", "Machine"):
        assert word in done.stdout
    assert not any(line != line.rstrip() for line in done.stdout.splitlines())


def test_standard_input_is_read_packed_or_not(real_log: Path) -> None:
    with real_log.open("rb") as file:
        plain = run("sql", "select count(*) as n from lines", "--json", "-", stdin=file)
    lines = len(real_log.read_text().splitlines())
    assert json.loads(plain.stdout) == {"table": "sql", "n": lines}
    piped = subprocess.run(
        f"gzip -c {real_log} | {COMMAND} sql 'select count(*) as n from lines' --csv -",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout == f"n\n{lines}\n"


def test_cli_common_options_before_or_after_report(
    real_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--json", "--node", "east-1", "users", str(real_log)]) == 0
    before = capsys.readouterr().out
    assert cli.main(["users", "--node", "east-1", str(real_log), "--json"]) == 0
    assert capsys.readouterr().out == before != ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["summary", "nowhere.log"], "no such file: nowhere.log"),
        (["summary", "nowhere*.log"], "no file matches nowhere*.log"),
        (["summary", "."], "is a directory"),
        (["summary", "--since", "noon", "{log}"], "invalid time 'noon'"),
        (["summary", "--since", "1h", "--until", "2h", "{log}"], "is not before"),
        (["summary", "--table", "nothing", "{log}"], "no table 'nothing' in this report"),
        (["summary", "--memory", "lots", "{log}"], "invalid memory size"),
        (["timeline", "--every", "x", "{log}"], "invalid step"),
        (["sql", "drop view lines", "{log}"], "one SELECT"),
        (["summary", "--anonymize-key", "/", "{log}"], "cannot use the key"),
    ],
)
def test_cli_wrong_usage_gives_one_line(
    words: list[str], says: str, real_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word.format(log=real_log) for word in words]) == cli.EXIT_USAGE
    shown, said = capsys.readouterr()
    assert says in said
    assert shown == ""
    assert said.startswith("chat-logs: ")
    assert said.count("\n") == 1


def test_cli_unreadable_file_gives_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "x.log"
    path.touch(0o000)
    assert cli.main(["summary", str(path)]) == cli.EXIT_USAGE
    assert "Permission denied" in capsys.readouterr().err


def test_cli_empty_period_reports_the_logs_period(real_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["users", "--until", "2020-01-01", str(real_log)]) == 0
    assert "nothing to report" in (said := capsys.readouterr().err)
    assert "the log is from" in said
    assert cli.main(["summary", "--user", "nobody at all", str(real_log)]) == 0
    assert "nothing to report" in capsys.readouterr().err


def test_a_broken_bound_is_shown_and_is_exit_code_1(
    real_log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> list[ReportTable]:
        raise BoundBrokenError([ReportTable("t", "T", [ReportColumn("a", "a", "text")], [("seen",)])])

    monkeypatch.setattr(REPORTS["users"], "run", broken)
    assert cli.main(["users", str(real_log)]) == cli.EXIT_BOUND_BROKEN
    assert "seen" in capsys.readouterr().out


def test_cli_broken_pipe_exits_with_0(real_log: Path) -> None:
    command = f"{COMMAND} sql 'select event from range(2000), lines' --csv {real_log} | head -1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, executable="/bin/bash", check=False
    )
    assert done.stdout
    assert done.stderr == ""


def test_cli_ctrl_c_exits_without_temporary_files(real_log: Path, tmp_path: Path) -> None:
    endless = "select count(*) from range(100000000) a, range(100000000) b where a.range + b.range = -1"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [COMMAND, "sql", endless, str(real_log)], stderr=subprocess.PIPE, env=environ
    ) as process:
        eventually(lambda: list(tmp_path.glob("chat-logs-*")), "the start of the question")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (cli.EXIT_INTERRUPTED, b"")
    assert not list(tmp_path.iterdir())


def test_python_module_runs_the_command(real_log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chat_ops", "users", str(real_log)], capture_output=True, text=True, check=True
    )
    assert done.stdout == run("users", real_log).stdout


def test_generated_log_has_the_events_of_its_template(real_log: Path, tmp_path: Path) -> None:
    path = tmp_path / "many.log"
    with path.open("wb") as file:
        Template.read(real_log).write(file, 5000)
    counts = {
        row["event"]: row["n"]
        for row in map(
            json.loads,
            run(
                "sql", "select event, count(*) as n from lines group by 1", "--json", path
            ).stdout.splitlines(),
        )
    }
    assert sum(counts.values()) == 5000
    real = [json.loads(line)["event"] for line in real_log.read_text().splitlines()]
    for event in set(real):
        assert counts[event] == pytest.approx(5000 * real.count(event) / len(real), rel=0.2, abs=len(real))

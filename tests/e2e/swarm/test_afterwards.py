"""`chat-swarm` on real runs: compare, slo, report."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.processes.process import BIN_DIR, clean_environment
from support.swarm.swarm_runs import LOCUSTFILE, FinishedSwarm


def chat_swarm(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BIN_DIR / "chat-swarm"), *arguments],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_compare_of_two_runs_prints_a_table(chat_runs: list[FinishedSwarm], tmp_path: Path) -> None:
    one, other = chat_runs
    done = chat_swarm(tmp_path, "compare", str(one.path), str(other.path))
    assert done.returncode == 0, done.stderr
    assert one.summary.run in done.stdout
    assert other.summary.run in done.stdout
    assert "delivery" in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(chat_swarm(tmp_path, "compare", "--json", str(one.path), str(other.path)).stdout)
    assert found


def test_compare_of_a_run_with_itself_breaks_no_bound(chat_runs: list[FinishedSwarm], tmp_path: Path) -> None:
    path = str(chat_runs[0].path)
    done = chat_swarm(tmp_path, "compare", path, path, "--fail-if", "delivery.p99>+1%,sent.rate<-1%")
    assert done.returncode == 0, done.stdout


def test_report_of_a_run_without_one_is_written(chat_runs: list[FinishedSwarm], tmp_path: Path) -> None:
    copy = shutil.copytree(chat_runs[0].path, tmp_path / "copy")
    (copy / "report.html").unlink()
    done = chat_swarm(tmp_path, "report", str(copy))
    assert (done.returncode, done.stdout.strip()) == (0, str(copy / "report.html")), done.stderr
    assert chat_runs[0].summary.run in (copy / "report.html").read_text()


@pytest.mark.parametrize(
    ("slo", "code"),
    [("lost=0,delivery.p50<60s,connected>=30", 0), ("delivery.p50<0.001us,lost=0", 1), ("delivery.p99<5", 2)],
)
def test_slo_on_a_run_sets_the_exit_code(
    chat_runs: list[FinishedSwarm], tmp_path: Path, slo: str, code: int
) -> None:
    done = chat_swarm(tmp_path, "slo", str(chat_runs[0].path), slo)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("BROKEN" in done.stdout) == (code == 1)


def test_report_of_an_empty_directory_exits_2(tmp_path: Path) -> None:
    done = chat_swarm(tmp_path, "report", str(tmp_path))
    assert done.returncode == 2
    assert "no finished run" in done.stderr
    assert "Traceback" not in done.stderr


def test_locustfile_is_the_one_that_bots_py_imports(tmp_path: Path) -> None:
    done = chat_swarm(tmp_path, "locustfile")
    assert done.returncode == 0
    installed = Path(done.stdout.strip())
    assert installed.is_file()
    assert f"chat_swarm.{installed.stem} import" in LOCUSTFILE.read_text()

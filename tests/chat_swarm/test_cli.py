"""The command `chat-swarm`: what it prints, its exit codes, and what it says when something is not there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chat_swarm import cli
from chat_swarm.report.terminal_summary import format_summary
from chat_swarm.results.run_directory import RunDirectory
from chat_swarm.runner.host_info import cpu_model, describe_host
from support.swarm.synthetic_run import synthetic_run, with_faults


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two runs, the second with a longer tail."""
    paths = []
    for name, tail in (("a", 1.0), ("b", 1.3)):
        directory = RunDirectory.create(tmp_path_factory.mktemp("runs") / name, name)
        assert directory.write(synthetic_run(samples=300, tail=tail), lambda _: "old") == []
        paths.append(str(directory.path))
    return paths[0], paths[1]


def test_compare_prints_a_table(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *runs]) == cli.EXIT_OK
    out = capsys.readouterr().out
    assert "beyond noise" in out
    assert "\x1b" not in out


def test_compare_with_broken_bound_exits_1(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *runs, "--fail-if", "delivery.p99>+20%"]) == cli.EXIT_BROKEN
    assert cli.main(["compare", runs[0], runs[0], "--fail-if", "delivery.p99>+20%"]) == cli.EXIT_OK
    assert "held    delivery.p99>+20%: it changed by +0.0 %" in capsys.readouterr().out


def test_compare_with_json_prints_json(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", *runs, "--json", "--scope", "all"]) == cli.EXIT_OK
    assert json.loads(capsys.readouterr().out)["scope"] == "all"


def test_report_replaces_the_page(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", runs[0]]) == cli.EXIT_OK
    path = Path(capsys.readouterr().out.strip())
    assert path == Path(runs[0]) / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("slo", "code", "said"),
    [
        ("delivery.p99<50ms,lost=0", cli.EXIT_OK, "held    delivery.p99 < 50 ms"),
        ("delivery.p99<1ms,lost=0", cli.EXIT_BROKEN, "BROKEN  delivery.p99 < 1 ms"),
        ("catch_up.p99<1s", cli.EXIT_BROKEN, "catch_up was never measured"),
    ],
)
def test_slo_on_a_finished_run_sets_the_exit_code(
    runs: tuple[str, str], slo: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["slo", runs[0], slo]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slo", "RUN", "delivry.p99<5ms"], "did you mean delivery.p99?"),
        (["slo", "nowhere", "lost=0"], "there is no directory nowhere"),
        (["report", "nowhere\x1b[2J"], "there is no directory nowhere\ufffd[2J"),
        (["compare", "RUN", "RUN", "--fail-if", "lost=0"], "is not a bound"),
    ],
)
def test_errors_are_one_line_on_stderr(
    runs: tuple[str, str], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([runs[0] if one == "RUN" else one for one in arguments]) == cli.EXIT_USAGE
    captured = capsys.readouterr()
    assert captured.err.startswith("chat-swarm: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["compare", "one"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == cli.EXIT_USAGE
    assert "usage: chat-swarm" in capsys.readouterr().err


def test_locustfile_prints_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["locustfile"]) == cli.EXIT_OK
    path = Path(capsys.readouterr().out.strip())
    assert path.is_absolute()
    assert path.parts[-2:] == ("chat_swarm", "locustfile.py")


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from chat_swarm.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("numpy", ["slo", "RUN", "lost=0"]), ("plotly,plotly.offline", ["report", "RUN"])],
)
def test_missing_package_is_named(runs: tuple[str, str], missing: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, *(runs[0] if one == "RUN" else one for one in arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == cli.EXIT_USAGE
    assert done.stderr.startswith(f"chat-swarm: {missing.split(',', maxsplit=1)[0]}")
    assert done.stderr.endswith(
        "is not installed: run pip install '.[loadtest]' in the checkout of Greenroom\n"
    )


def test_compare_and_report_do_not_import_locust_or_gevent(runs: tuple[str, str]) -> None:
    script = """
import sys
from chat_swarm.cli import main
assert main(["compare", sys.argv[1], sys.argv[1]]) == 0
assert main(["report", sys.argv[1]]) == 0
import chat_swarm.report.terminal_summary, chat_swarm.runner.host_info
assert not {"locust", "gevent"} & set(sys.modules), "imported"
"""
    done = subprocess.run(
        [sys.executable, "-c", script, runs[1]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_format_summary_has_verdict_figures_and_path(tmp_path: Path) -> None:
    run = synthetic_run(steady=30, marked=(20,), warnings=["the clock\x1b[2J moved"])
    text = format_summary(run, tmp_path)
    assert text.startswith("Swarm run a1b2c3d4: PASSED\n")
    assert len(text.splitlines()) <= 18
    assert "delivery.p99 < 50 ms: held" in text
    assert "The generator was late in 1 second of 30" in text
    assert str(tmp_path / "report.html") in text
    assert "\x1b" not in text


def test_format_summary_of_a_failed_run_names_the_causes() -> None:
    run = with_faults(synthetic_run(steady=45, slo="delivery.p99<1ms"))
    text = format_summary(run)
    assert "FAILED: THE AUDIT AND THE SLO" in text
    assert "2 lost, 1 repeated" in text
    assert "delivery.p99 < 1 ms: BROKEN" in text


def test_describe_host_is_complete() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Example 3000 @ 2 GHz\n") == "Example 3000 @ 2 GHz"
    assert cpu_model("processor\t: 0\n") == "unknown"
    found = describe_host()
    assert found["cores"] >= 1
    assert found["packages"]["numpy"]
    assert json.loads(json.dumps(found)) == found

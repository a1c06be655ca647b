"""A run's files are read back unchanged, are written completely or not at all, and survive a full disk."""

import errno
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_cli import output_file
from chat_swarm.model.hgrm import percentile_distribution
from chat_swarm.model.metric_names import COUNTS, FAULTS, METRICS
from chat_swarm.model.schema import MachineSample, Quantiles, ServerSample, Summary, TimelineRow
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.run_directory import RunDirectory, RunDirectoryError, read_run, write_report
from chat_swarm.results.timeline_csv import COLUMNS, decode, encode
from support.swarm.synthetic_run import synthetic_run

counted = st.integers(0, 2**40)
quantiles = st.builds(
    Quantiles,
    count=st.integers(1, 2**40),
    mean=st.integers(0, 10**9).map(lambda thousandths: thousandths / 1000),
    **dict.fromkeys(["min", "p50", "p90", "p99", "p999", "p9999", "max"], st.integers(0, 600_000_000)),
)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=12)
rows = st.builds(
    TimelineRow,
    t=st.integers(-1, 10**6),
    unix=counted,
    phase=st.sampled_from(["ramp", "steady", "drain"]),
    step=words,
    bots=counted,
    connected=counted,
    counts=st.dictionaries(st.sampled_from(sorted(COUNTS)), st.integers(1, 2**40)),
    faults=st.dictionaries(st.sampled_from(sorted(FAULTS)), st.integers(1, 99)),
    metrics=st.dictionaries(st.sampled_from([metric.name for metric in METRICS]), quantiles),
    loop_lag_max_us=counted,
    cpu=st.floats(0, 64),
    marked=words,
    server=st.none() | st.builds(ServerSample, cpu=st.floats(0, 64), rss_bytes=counted, descriptors=counted),
    machine=st.none() | st.builds(MachineSample, others=st.floats(0, 64), stolen=st.floats(0, 64)),
)


@given(st.lists(rows, max_size=3))
def test_timeline_round_trips(written: list[TimelineRow]) -> None:
    assert decode(encode(written)) == written


def test_timeline_has_flat_rows_and_unique_columns() -> None:
    head, *lines = encode(synthetic_run(steady=5).rows).splitlines()
    names = head.split(",")
    assert names == [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)
    assert all(column.meaning for column in COLUMNS)
    assert {line.count(",") for line in lines} == {len(names) - 1}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("delivery_p99_us", "other"), "no column delivery_p99_us"),
        (lambda text: text[: len(text) // 2], "line "),
        (lambda text: text.replace("steady", "steady,1"), "line "),
        (lambda _: "", "no column t"),
    ],
)
def test_decode_of_a_damaged_timeline_raises(damage: object, said: str) -> None:
    text = encode(synthetic_run(steady=5).rows)
    assert callable(damage)
    with pytest.raises(ValueError, match=said):
        decode(damage(text))


def page(run: FinishedRun) -> str:
    return f"<p>{run.summary.run}"


@pytest.fixture
def run() -> FinishedRun:
    return synthetic_run(steady=6, samples=200)


def test_run_directory_round_trips_a_run(run: FinishedRun, tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "deep" / "new", run.summary.run)
    assert directory.write(run, page) == []

    back = read_run(directory.path)

    assert back.summary == run.summary
    assert len(back.rows) == len(run.rows)
    assert back.rows[8].metrics["delivery"].p99 == run.rows[8].metrics["delivery"].p99
    assert {name: set(scopes) for name, scopes in back.histograms.items()} == {
        name: set(scopes) for name, scopes in run.histograms.items()
    }
    for name, scopes in run.histograms.items():
        for scope, histogram in scopes.items():
            assert (back.histograms[name][scope].counts == histogram.counts).all()


def test_run_directory_has_all_files(run: FinishedRun, tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", "x")
    directory.write(run, page)

    names = {path.name for path in directory.path.iterdir()}
    assert names >= {"summary.json", "timeline.csv", "histograms.json", "report.html", "delivery.hgrm"}
    assert not [name for name in names if name.startswith(".")]
    assert (directory.path / "delivery.hgrm").read_text() == percentile_distribution(
        run.histograms["delivery"]["steady"]
    )


def test_create_without_path_names_the_directory_by_time_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 9, 21, 14, 3, 7, tzinfo=UTC)
    first, second = (RunDirectory.create(None, "a1b2", now).path for _ in range(2))
    assert str(first) == "swarm-runs/20260921T140307Z-a1b2"
    assert str(second) == "swarm-runs/20260921T140307Z-a1b2-2"


def test_create_in_a_directory_with_a_run_raises(run: FinishedRun, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, "x").write(run, page)
    with pytest.raises(RunDirectoryError, match=rf"{tmp_path} already holds a run: choose another"):
        RunDirectory.create(tmp_path, "x")


def test_create_in_an_empty_directory_uses_it(tmp_path: Path) -> None:
    assert RunDirectory.create(tmp_path, "x").path == tmp_path


def test_create_in_an_unwritable_path_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot be written to \(.+\): choose another directory"):
        RunDirectory.create(tmp_path / "file" / "run", "x")


def full_disk(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    really = output_file.write_file

    def replace(path: Path, data: bytes) -> None:
        if not names or path.name in names:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(path, data)

    monkeypatch.setattr(output_file, "write_file", replace)


def test_write_to_a_full_disk_prints_the_summary(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory.create(tmp_path, "x")
    full_disk(monkeypatch)
    out = io.StringIO()

    problems = directory.write(run, page, out)

    assert "No space left on device" in problems[0]
    assert problems[-1] == "the summary was printed instead"
    assert msgspec.json.decode(out.getvalue(), type=Summary) == run.summary


def test_write_with_one_failing_file_writes_the_others(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory.create(tmp_path, "x")
    full_disk(monkeypatch, "report.html")
    out = io.StringIO()
    assert len(directory.write(run, page, out)) == 1
    assert not out.getvalue()
    assert read_run(tmp_path).summary == run.summary


def test_write_with_a_failing_report_writes_the_run(run: FinishedRun, tmp_path: Path) -> None:
    def missing(_: FinishedRun) -> str:
        raise ImportError(name="plotly")

    def broken(_: FinishedRun) -> str:
        raise KeyError("delivery")

    (problem,) = RunDirectory.create(tmp_path / "a", "x").write(run, missing)
    assert "pip install '.[loadtest]'" in problem
    (problem,) = RunDirectory.create(tmp_path / "b", "x").write(run, broken)
    assert "KeyError" in problem
    assert read_run(tmp_path / "b").summary == run.summary


def test_write_report_replaces_the_old_one(run: FinishedRun, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, "x").write(run, page)
    assert write_report(tmp_path, "new").read_text() == "new"


def test_write_report_through_a_link_keeps_link_and_mode(run: FinishedRun, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", "x").write(run, page)
    real = tmp_path / "real.html"
    real.write_text("old")
    real.chmod(0o600)
    (tmp_path / "run" / "report.html").unlink()
    (tmp_path / "run" / "report.html").symlink_to(real)
    write_report(tmp_path / "run", "new")
    assert (tmp_path / "run" / "report.html").is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o600)


def test_summary_that_cannot_be_printed_either_is_reported(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory.create(tmp_path, "x")
    full_disk(monkeypatch)
    with Path("/dev/full").open("w") as out:
        problems = directory.write(run, page, out)
        assert "nor could the summary be printed instead" in problems[-1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("summary.json", "{", "summary.json is broken"),
        ("summary.json", "[]", "summary.json is broken"),
        ("summary.json", '{"version": 1}', "summary.json is broken"),
        ("summary.json", '{"version": 9}', "is of version 9, and this chat-swarm reads version 1"),
        ("summary.json", "{}", "is of version None"),
        ("timeline.csv", "t,unix\n", "timeline.csv is broken: the timeline has no column phase"),
        ("histograms.json", "{", "histograms.json is broken"),
        ("histograms.json", '{"ack": {"all": "HISTnonsense"}}', "histograms.json is broken"),
    ],
)
def test_read_run_with_a_broken_file_names_it(
    run: FinishedRun, tmp_path: Path, name: str, text: str, said: str
) -> None:
    RunDirectory.create(tmp_path, "x").write(run, page)
    (tmp_path / name).write_text(text)
    with pytest.raises(RunDirectoryError, match=re.escape(said)):
        read_run(tmp_path)


def test_read_run_without_directory_or_summary_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="there is no directory"):
        read_run(tmp_path / "none")
    with pytest.raises(RunDirectoryError, match="holds no finished run"):
        read_run(tmp_path)

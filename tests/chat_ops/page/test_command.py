"""The page without a browser: embedded data, limits, and refused arguments."""

import html
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ops import cli
from chat_ops.log.event_log import EventLog
from chat_ops.page import data, histograms
from chat_ops.page import series as page_series
from chat_ops.page.command import script_json
from chat_ops.stats.hdr_codec import BUCKET_COUNT
from chat_ops.stats.histogram import SparseHistogram
from support.processes.process import BIN_DIR, eventually

COMMAND = BIN_DIR / "chat-logs"

MADE_OF = st.text() | st.integers() | st.booleans() | st.none()
BY_BUCKET = st.dictionaries(st.integers(0, BUCKET_COUNT - 1), st.integers(1, 10**6), min_size=1, max_size=50)


def page_of(log: Path, target: Path, *options: str) -> str:
    assert cli.main(["report", *options, "--html", str(target), str(log)]) == 0
    return target.read_text()


def data_of(page: str) -> Any:
    return json.loads(page.split('id="data">')[1].split("</script>", maxsplit=1)[0])


@given(st.lists(MADE_OF) | st.dictionaries(st.text(), MADE_OF))
def test_embedded_json_cannot_end_its_element(value: Any) -> None:
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


@given(BY_BUCKET)
def test_a_packed_histogram_keeps_counts_and_nearly_the_values(counts: dict[int, int]) -> None:
    places = np.array(sorted(counts), np.int64)
    whole = SparseHistogram(places, np.array([counts[place] for place in sorted(counts)], np.int64))
    packed = histograms.pack_histogram(whole)
    assert sum(packed[1::2]) == whole.count
    numbers = np.cumsum(packed[0::2])
    assert (np.diff(numbers) > 0).all()
    highest = 2.0 ** ((numbers[-1] + 1) / histograms.BUCKETS_PER_OCTAVE)
    assert whole.max is not None
    assert max(whole.max, 1) <= highest * 1.0001 <= max(whole.max, 1) * 1.023


def test_page_values_match_the_reports(real_log: Path, tmp_path: Path) -> None:
    with EventLog([str(real_log)]) as log:
        made = data.build_page(log)
        ((messages,),) = log.rows("SELECT sum(messages)::BIGINT FROM lines WHERE event = 'interval'")
    values = {one.name: one.value for one in made.tiles}
    assert values["messages"] == f"{messages:,}"
    series = made.embedded["series"][""]
    assert sum(value or 0 for value in series["messages"]) == messages
    assert len(made.embedded["times"]) <= page_series.MAX_STEPS
    assert data_of(page_of(real_log, tmp_path / "page.html"))["tables"] == json.loads(
        script_json(made.embedded["tables"])
    )


def test_page_references_nothing_external(real_log: Path, tmp_path: Path) -> None:
    page = page_of(real_log, tmp_path / "page.html")
    head = page[: page.index("<script")]
    assert "default-src 'none'" in head
    for word in ("src=", "<link", "@import", "url("):
        assert word not in head


@pytest.mark.parametrize("options", [[], ["--anonymize"], ["--user", "nobody"], ["--since", "2200-01-01"]])
def test_page_of_hostile_log_is_escaped(hostile_log: Path, tmp_path: Path, options: list[str]) -> None:
    page = page_of(hostile_log, tmp_path / "page.html", *options)
    text = html.unescape(page)
    assert not set(text) & {"\x1b", "\u202e", "\x00"}
    assert data_of(page)["tables"] or "--since" in options


def test_a_page_is_not_written_over_the_log(
    real_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = real_log.read_bytes()
    assert cli.main(["report", "--html", str(real_log), str(real_log)]) == 2
    assert real_log.read_bytes() == before
    assert "is a log file" in capsys.readouterr().err
    assert cli.main(["report", "--html", str(tmp_path / "no" / "page.html"), str(real_log)]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_page_is_written_as_a_shell_would(real_log: Path, tmp_path: Path) -> None:
    """Through a link, with the file's mode, into a FIFO, to a descriptor: never in place of them."""
    real = tmp_path / "real.html"
    real.write_text("old")
    real.chmod(0o600)
    (tmp_path / "page.html").symlink_to(real)
    os.mkfifo(tmp_path / "fifo")
    copied = tmp_path / "copied.html"
    with copied.open("wb") as copy, subprocess.Popen(["cat", tmp_path / "fifo"], stdout=copy) as cat:
        assert cli.main(["report", "--html", str(tmp_path / "page.html"), str(real_log)]) == 0
        assert cli.main(["report", "--html", str(tmp_path / "fifo"), str(real_log)]) == 0
        assert cat.wait(60) == 0
    assert (tmp_path / "page.html").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    for page in (real, copied):
        assert page.read_text().startswith("<!DOCTYPE html>")
        assert page.read_text().rstrip().endswith("</html>")
    substituted = tmp_path / "substituted.html"
    command = f"{COMMAND} report --html >(cat > {substituted}) {real_log}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    eventually(lambda: substituted.read_text().rstrip().endswith("</html>"), "the page")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("none/page.html", "No such file or directory"),
        (".", "Is a directory"),
        ("full", "No space left on device"),
    ],
)
def test_page_that_cannot_be_written_is_one_line(
    real_log: Path, tmp_path: Path, target: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    assert cli.main(["report", "--html", str(tmp_path / target), str(real_log)]) == 2
    assert capsys.readouterr().err == f"chat-logs: cannot write {tmp_path / target}: {problem}\n"
    assert (tmp_path / "full").is_symlink()


def test_page_is_not_written_over_a_log_on_standard_input(real_log: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(real_log.read_bytes())
    with log.open("rb") as file:
        done = subprocess.run(
            [COMMAND, "report", "--html", str(log), "-"],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "is a log file" in done.stderr
    assert log.read_bytes() == real_log.read_bytes()

"""The view `lines`: typed fields, all file formats, exact count of bad lines."""

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chat_ops.log import bad_lines
from chat_ops.log.columns import COLUMNS, FILE_COLUMN
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.log.filters import Filters
from chat_server.vocabulary import FIELDS
from support.log_files.real_log import BAD_LINES, ODD_GOOD_LINES

# ruff: noqa: DTZ001  times in the view are UTC without a zone


def line(ts: str, event: str = "trimmed", **fields: object) -> str:
    return json.dumps({"ts": ts, "level": "info", "event": event, "node": "n", **fields}) + "\n"


def test_every_field_of_the_vocabulary_has_a_column() -> None:
    assert set(COLUMNS) == set(FIELDS)


def test_lines_view_of_real_log_has_all_typed_values(real_log: Path) -> None:
    written = [json.loads(text) for text in real_log.read_text().splitlines()]
    with EventLog([str(real_log)]) as log:
        names = [name for (name, *_) in log.rows("DESCRIBE lines")]
        rows = [dict(zip(names, row, strict=True)) for row in log.rows("SELECT * FROM lines ORDER BY ts")]
        assert log.extent.lines == len(written)
        assert log.bad_lines == 0
    written.sort(key=lambda entry: entry["ts"])
    for entry, row in zip(written, rows, strict=True):
        for field, value in entry.items():
            if field == "ts":
                assert row["ts"] == datetime.fromisoformat(value).replace(tzinfo=None)
            elif field == "rooms":
                assert [one["room"] for one in row["rooms"]] == [one["room"] for one in value]
            else:
                assert row[field] == value, field


@pytest.mark.parametrize(
    "how",
    [{}, {"filters": Filters(since=datetime(2000, 1, 1))}, {"anonymize_key": "a key"}],
    ids=["whole", "filtered", "anonymous"],
)
def test_rare_events_are_all_but_sessions_and_messages(
    hostile_log: Path, real_log: Path, how: dict[str, Any]
) -> None:
    with EventLog([str(real_log), str(hostile_log)], **how) as log:
        rare = log.rare_events("error", "rooms")
        every = "FROM lines WHERE event NOT IN ('session_opened', 'session_closed', 'message')"
        for columns in ("ts, level, event, node", "ts, error, rooms"):
            found = log.rows(f"SELECT {columns} FROM {rare} ORDER BY ALL")
            assert found == log.rows(f"SELECT {columns} {every} ORDER BY ALL")
            assert found
        # Then the table is reused if it has the columns; otherwise the files are read again
        assert log.rare_events("rooms") == log.rare_events("rooms", "error") == rare
        assert log.rare_events("rooms", "store") != rare
        assert len(log.rows(f"SELECT {', '.join([*COLUMNS, FILE_COLUMN])} FROM {log.rare_events()}")) == len(
            found
        )
        assert log.rare_events("rooms", "reason") in {rare, log.rare_events()}


def test_set_extent_from_report_gives_the_same_extent(hostile_log: Path) -> None:
    with EventLog([str(hostile_log)]) as log:
        extent = log.extent
    for rare in (True, False):
        with EventLog([str(hostile_log)]) as log:
            if rare:
                log.rare_events("error")
            log.set_extent(*log.rows("SELECT count(*), min(ts), max(ts) FROM lines")[0])
            assert log.extent == extent


def test_bad_lines_are_counted_exactly_and_odd_ones_are_kept(hostile_log: Path) -> None:
    with EventLog([str(hostile_log)]) as log:
        assert log.bad_lines == len(BAD_LINES)
        assert log.extent.lines == len(BAD_LINES) + len(ODD_GOOD_LINES)
        assert log.rows("SELECT count(*) FROM lines") == [(len(ODD_GOOD_LINES),)]
        assert log.rows("SELECT ts FROM lines WHERE event = 'elsewhere'") == [
            (datetime(2026, 11, 21, 9, 30, 17),)
        ]


def test_bad_lines_are_shown_with_where_and_why(hostile_log: Path) -> None:
    texts = hostile_log.read_bytes().split(b"\n")
    with EventLog([str(hostile_log)]) as log:
        rows = bad_lines.bad_lines_table(log).rows
    assert len(rows) == len(BAD_LINES)
    for (_, number, size, wrong, begins), bad in zip(rows, BAD_LINES, strict=True):
        assert texts[number - 1] == bad
        assert size == len(bad)
        assert wrong
        assert begins == bad[:200].decode("utf-8", "backslashreplace")


def test_bad_lines_keep_their_places_in_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    good = line("2026-11-21T10:00:00Z", path="x" * 1000)
    with path.open("w") as file:
        for number in range(40_000):
            file.write("broken\n" if number % 4001 == 4000 else good)
    with EventLog([str(path)]) as log:
        assert [row[1] for row in bad_lines.bad_lines_table(log).rows] == [4001 * n for n in range(1, 10)]


def test_lines_longer_than_the_first_limit_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("x" * 40_000_000 + "\n" + line("2026-11-21T10:00:00Z"))
    with EventLog([str(path)]) as log:
        assert log.rows("SELECT event FROM lines") == [("trimmed",)]
        assert log.bad_lines == 1


def test_packed_rotated_and_plain_files_are_merged_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line("2026-11-21T12:00:00Z", count=3))
    (tmp_path / "a.log.1").write_bytes(gzip.compress(line("2026-11-21T11:00:00Z", count=2).encode()))
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(line("2026-11-21T10:00:00Z", count=1).encode()))
    files = [str(tmp_path / "a.log*"), str(tmp_path / "a.log")]
    with EventLog(files) as log:
        assert log.rows("SELECT count FROM lines ORDER BY ts") == [(1,), (2,), (3,)]
        assert {Path(file).name for (file,) in log.rows("SELECT file FROM lines")} == {
            *("a.log", "a.log.1", "a.log.2.gz")
        }


@pytest.mark.skipif(shutil.which("zstd") is None, reason="makes its file with zstd")
def test_zstd_is_read_and_its_bad_lines_are_found(tmp_path: Path) -> None:
    plain = tmp_path / "a.log"
    plain.write_text(line("2026-11-21T12:00:00Z") + "broken\n")
    subprocess.run(["zstd", "-q", "--rm", str(plain)], check=True)
    with EventLog([str(tmp_path / "a.log.zst")]) as log:
        assert log.extent.lines == 2
        assert [row[1:] for row in bad_lines.bad_lines_table(log).rows] == [
            (2, 6, "not a JSON object", "broken")
        ]


def test_names_that_duckdb_would_take_for_patterns_are_files(tmp_path: Path) -> None:
    for name in ("a[1].log", "b*.log", "c'd.log", b"e\xff.log", "f\n.log"):
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))  # noqa: PTH118  bytes
        path.write_text(line("2026-11-21T12:00:00Z"))
        with EventLog([str(path)]) as log:
            assert log.rows("SELECT count(*) FROM lines") == [(1,)]


def test_a_pipe_is_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"echo '{line('2026-11-21T12:00:00Z').strip()}' > {fifo}"]) as writer:
        with EventLog([str(fifo)]) as log:
            assert log.rows("SELECT count(*) FROM lines") == [(1,)]
        assert writer.wait() == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _path: None, "no such file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"\xfd7zXZ\x00"), "compressed with xz"),
    ],
)
def test_unreadable_input_gives_error(make: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    make(path)
    with pytest.raises(UsageError, match=says):
        EventLog([str(path)])


def test_truncated_gzip_gives_error(tmp_path: Path) -> None:
    path = tmp_path / "x.log.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000).hex().encode())[:-5000])
    with EventLog([str(path)]) as log, pytest.raises(UsageError):
        _ = log.extent


def test_filters_choose_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    room = {"room": "Lobby", "messages": 3, "deliveries": 9, "accept_to_commit": "H"}
    other = {"room": "other", "messages": 4, "deliveries": 4}
    path.write_text(
        line("2026-11-21T10:00:00Z", "session_opened", username="Ann")
        + line("2026-11-21T11:00:00Z", "message", room="lobby", username="bob")
        + line("2026-11-21T12:00:00Z", "interval", messages=7, errors={"x": 1}, rooms=[room, other])
        + line("2026-11-21T13:00:00Z", "interval", messages=4, rooms=[other])
        + line("2026-11-21T14:00:00Z", "trimmed", node="west'")
    )

    def events(filters: Filters, columns: str = "hour(ts)") -> list[tuple[object, ...]]:
        with EventLog([str(path)], filters) as log:
            return log.rows(f"SELECT {columns} FROM lines ORDER BY ts")

    noon = datetime(2026, 11, 21, 12)
    assert events(Filters(since=noon)) == [(12,), (13,), (14,)]
    assert events(Filters(until=noon)) == [(10,), (11,)]
    assert events(Filters(users=("aNN", "Bob"))) == [(10,), (11,)]
    assert events(Filters(nodes=("west'",))) == [(14,)]
    assert events(Filters(room="LOBBY"), "hour(ts), messages, deliveries, accept_to_commit, errors") == [
        (11, None, None, None, None),
        (12, 3, 9, "H", None),
    ]


@pytest.mark.parametrize(
    "question",
    [
        "copy (select 1) to '{log}'",
        "with a as (copy (select 1) to '{log}' (use_tmp_file false)) select 1",
        "with a as (copy (select 1) to '{other}' (use_tmp_file false)) select 1",
        "select 1; copy (select 1) to '{log}'",
        "select * from read_text('/etc/passwd')",
        "select * from read_text('{other}')",
        "attach '{other}' as x",
        "set enable_external_access = true",
        "install httpfs",
        "selec",
        "",
    ],
)
@pytest.mark.parametrize("key", [None, "k" * 32])
def test_a_question_can_only_read_the_log(question: str, key: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    other = tmp_path / "other"
    path.write_text(line("2026-11-21T12:00:00Z"))
    with EventLog([str(path)], anonymize_key=key) as log, pytest.raises(UsageError):
        log.run_user_query(question.format(log=path, other=other))
    assert path.read_text() == line("2026-11-21T12:00:00Z")
    assert not other.exists()
    with EventLog([str(path)]) as log:
        assert log.run_user_query("from lines select event, count(*) as n group by 1")[1] == [("trimmed", 1)]

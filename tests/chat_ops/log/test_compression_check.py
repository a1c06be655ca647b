"""Damaged compressed files are reported."""

import gzip
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ops.log import compression_check
from chat_ops.log.input_files import InputFile
from support.log_files.report_runner import ReportAnswer, interval_line, write_log

LINES = [interval_line(second, messages=second) for second in range(400)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_log(tmp_path_factory.mktemp("plain") / "x.log", LINES))


@pytest.fixture(scope="module")
def gz(plain: Path) -> bytes:
    return gzip.compress(plain.read_bytes(), mtime=0)


@pytest.fixture(scope="module")
def zst(plain: Path) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("makes its file with zstd")
    done = subprocess.run(["zstd", "-qc", str(plain)], check=True, capture_output=True)
    return done.stdout


def said(path: Path, data: bytes, *others: object) -> str:
    """Return what a report says of a damaged file, of which it reports nothing."""
    path.write_bytes(data)
    answer = ReportAnswer("sql", "select count(*) from lines", *others, path)
    assert answer.text == ""
    assert answer.code == 2
    assert answer.errors.startswith(f"chat-logs: {path} is damaged")
    assert answer.errors.count("\n") == 1
    return answer.errors


def stored() -> bytes:
    """Return a file in which a bit can flip without a line that is no log line."""
    return gzip.compress(
        b"".join(b'{"ts":"2026-11-21T09:00:00Z","event":"trimmed","count":1}\n' for _ in range(9)), 0
    )


def test_a_flipped_bit_of_gzip_is_found_though_each_line_is_good(tmp_path: Path) -> None:
    flipped = stored().replace(b'"count":1', b'"count":3', 1)
    errors = said(tmp_path / "x.gz", flipped)
    assert "its checksum is wrong" in errors
    assert f"zcat {tmp_path}/x.gz | chat-logs … -" in errors


@pytest.mark.parametrize("missing", [4, 8, 1500])
def test_a_gzip_file_that_is_cut_off(missing: int, tmp_path: Path, gz: bytes) -> None:
    errors = said(tmp_path / "x.gz", gz[:-missing])
    assert "it is truncated, after" in errors
    assert ("after 400 lines" in errors) == (missing < 10)


@pytest.mark.parametrize("more", [b"garbage", bytes(512), b"\0", b"\x1f\x8bgarbage"])
def test_something_after_the_end(more: bytes, tmp_path: Path, gz: bytes) -> None:
    assert "it has trailing data (400 lines" in said(tmp_path / "x.gz", gz + more)


def test_an_empty_file_that_should_be_packed(tmp_path: Path) -> None:
    assert "it is empty. Nothing is reported; leave it out" in said(tmp_path / "x.log.gz", b"")


@pytest.mark.parametrize("name", ["x.gz", "x.log.zst"])
def test_a_packed_file_whose_beginning_is_altered_is_no_plain_one(
    name: str, tmp_path: Path, gz: bytes, plain: Path
) -> None:
    errors = said(tmp_path / name, b"\0" + gz[1:])
    assert "its header is missing. Nothing is reported; leave it out" in errors
    # A plain log that is called packed is read as ever
    (tmp_path / name).write_bytes(b"half a line\n" + plain.read_bytes())
    answer = ReportAnswer("sql", "select count(*) as n from lines", "--csv", tmp_path / name)
    assert (answer.code, answer.text) == (0, "n\n400\n")


@pytest.mark.parametrize("missing", [1, 4, 100, 1500])
def test_a_zstd_file_that_is_cut_off(missing: int, tmp_path: Path, zst: bytes) -> None:
    errors = said(tmp_path / "x.zst", zst[:-missing])
    assert "it is truncated" in errors
    assert f"zstdcat {tmp_path}/x.zst | chat-logs … -" in errors


def test_a_zstd_file_that_is_altered_is_the_one_that_is_named(tmp_path: Path, zst: bytes) -> None:
    (tmp_path / "whole.zst").write_bytes(zst)
    altered = bytearray(zst)
    altered[len(zst) // 2] ^= 16
    said(tmp_path / "x.zst", bytes(altered), tmp_path / "whole.zst")
    assert "it has trailing data" in said(tmp_path / "x.zst", zst + b"garbage")


def test_whole_files_of_several_parts_are_whole(tmp_path: Path, gz: bytes, zst: bytes) -> None:
    skippable = (0x184D2A53).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    for name, data in (("gzip", gz + gz), ("zstd", zst + zst), ("zstd", zst + skippable + zst)):
        path = tmp_path / "x"
        path.write_bytes(data)
        assert compression_check.find_damage(InputFile("x", str(path), name)) == ""  # type: ignore[arg-type]  # one of the two
    for data in (gz + gz, skippable + zst + zst):
        (tmp_path / "x").write_bytes(data)
        assert (
            ReportAnswer("sql", "select count(*) as n from lines", "--csv", tmp_path / "x").text == "n\n800\n"
        )


def said_first(first: Path, second: Path, data: bytes) -> str:
    second.write_bytes(data)
    answer = ReportAnswer("summary", first, second)
    assert (answer.code, answer.text) == (2, "")
    return answer.errors


def test_each_damaged_file_is_named_and_piped_ones_too(tmp_path: Path, gz: bytes) -> None:
    (tmp_path / "other.gz").write_bytes(gz[:-9])
    assert f"({tmp_path}/x.gz too)" in said_first(tmp_path / "other.gz", tmp_path / "x.gz", gz[:-9])
    command = [sys.executable, "-m", "chat_ops", "summary", "-"]
    done = subprocess.run(command, input=gz[:-9], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"(standard input) is damaged: it is truncated" in done.stderr
    assert "decompressed: … | zcat | chat-logs … -" in done.stderr.decode()


def test_no_bit_of_packed_data_can_flip_unseen() -> None:
    data = b'{"ts":"2026-11-21T09:00:00Z"}\n' * 9 + bytes(range(256))
    whole = gzip.compress(data, mtime=0)
    # What comes before says when and how it was packed: no line depends on it.
    for bit in range(8 * 10, 8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        if not compression_check.check_gzip(io.BytesIO(flipped)):
            # Padding up to the next byte (RFC 1951, 3.2.3) is under no checksum, and no byte depends on it.
            assert gzip.decompress(flipped) == data, bit


@given(st.data())
def test_no_part_of_a_packed_file_is_taken_for_the_whole(zst: bytes, gz: bytes, data: st.DataObject) -> None:
    part = zst[: data.draw(st.integers(1, len(zst) - 1))]
    assert compression_check.check_zstd(io.BytesIO(part), len(part))
    assert compression_check.check_gzip(io.BytesIO(gz[: data.draw(st.integers(1, len(gz) - 1))]))
    assert not compression_check.check_zstd(io.BytesIO(zst), len(zst))
    assert not compression_check.check_gzip(io.BytesIO(gz))

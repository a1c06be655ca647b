"""Odd inputs and surroundings: no temporary folder, NULs, no log at all, sizes that make no sense."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chat_ops import cli
from chat_ops.log import long_lines
from chat_ops.log.input_files import InputFile
from chat_ops.log.temporary_folder import TemporaryFolder
from support.log_files.report_runner import ReportAnswer, log_line, write_log
from support.processes.process import BIN_DIR

COMMAND = str(BIN_DIR / "chat-logs")
TESTS = Path(__file__).parents[2]
COUNT = "select count(*) as n from lines"
NO_TEMPORARY_FOLDER = """
import sys, tempfile
def none(*_): raise FileNotFoundError(2, "No usable temporary directory found")
tempfile._get_default_tempdir = none
tempfile.tempdir = None
from chat_ops.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [COMMAND, *map(str, words)], capture_output=True, text=True, timeout=100, check=False, **how
    )


def two_lines(path: Path) -> str:
    return write_log(path, [log_line(1, "server_started"), log_line(2, "server_stopped")])


def without_temporary_folder(*words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", NO_TEMPORARY_FOLDER, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **how,
    )


@pytest.mark.parametrize("report", ["summary", "timeline", "audit"])
def test_plain_file_needs_no_temporary_folder(real_log: Path, report: str) -> None:
    done = without_temporary_folder(report, real_log)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(report, real_log).stdout


def test_pipe_without_a_temporary_folder_names_the_way_out(real_log: Path, tmp_path: Path) -> None:
    with real_log.open() as file:
        done = without_temporary_folder("summary", "-", stdin=file)
    assert done.returncode == 2
    assert "no folder for temporary files, needed to copy (standard input): set TMPDIR" in done.stderr
    odd = shutil.copy(real_log, tmp_path / "a[1].log")
    done = without_temporary_folder("summary", odd)
    assert done.returncode == 2
    assert "set TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_temporary_folder_is_named_and_not_the_input(real_log: Path) -> None:
    """A limit of a file's size fails as a full disk does."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from chat_ops.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    with real_log.open() as file:
        done = subprocess.run(
            [sys.executable, "-c", code, "summary", "-"],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot copy - to a temporary file: File too large; set TMPDIR" in done.stderr
    assert done.stderr.count("\n") == 1


def test_deleted_folder_does_not_matter_for_standard_input(real_log: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f'cd "{tmp_path}/gone" && rmdir ../gone && "{COMMAND}" summary - < "{real_log}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = f'mkdir "{tmp_path}/gone" && cd "{tmp_path}/gone" && rmdir ../gone && "{COMMAND}" summary x.log'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such file: x.log" in done.stderr


@pytest.fixture(params=["plain", "gzip", "pipe"])
def nul_log(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A log with 300 MiB of NULs before its second line, as a sparse file after a loss of power."""
    path = tmp_path / "log"
    lines = Path(two_lines(tmp_path / "two")).read_bytes().splitlines(keepends=True)
    with path.open("wb") as file:
        file.write(lines[0])
        file.seek(300 << 20, os.SEEK_CUR)
        file.write(lines[1])
    if request.param != "gzip":
        return [request.param, str(path)]
    with path.open("rb") as source, gzip.open(tmp_path / "log.gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return ["gzip", str(tmp_path / "log.gz")]


def test_run_of_nuls_is_one_bad_line(nul_log: list[str]) -> None:
    kind, path = nul_log
    words = ["sql", COUNT, "--json", "--bad-lines"]
    if kind == "pipe":
        with Path(path).open("rb") as file:
            done = run(*words, "-", stdin=file)
    else:
        done = run(*words, path)
    assert (done.returncode, done.stderr) == (0, "")
    good, bad = map(json.loads, done.stdout.splitlines())
    assert good["n"] == 2
    assert (bad["line"], bad["bytes"], bad["wrong"], bad["text"]) == (2, 300 << 20, "NUL bytes", None)


def test_shortened_copy_takes_memory_for_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    code = (
        "import sys\nfrom chat_ops.log import long_lines\nfrom support.processes.memory import peak_kib\n"
        "from chat_ops.log.input_files import InputFile\n"
        "from chat_ops.log.temporary_folder import TemporaryFolder\n"
        "before = peak_kib()\n"
        "long_lines.shortened_copies([InputFile('x', sys.argv[1], 'none')], 1 << 24, TemporaryFolder())\n"
        "print((peak_kib() - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a\nb\n", None),
        (b"012345678\n", None),
        (b"a\n01234567890\nb\n", b"a\n\x0012 too long\nb\n"),
        (b"a\n01234567890", b"a\n\x0011 too long\n"),
        (b"a\n" + b"\0" * 20 + b"b\nc\n", b"a\n\x0020 NUL bytes\nb\nc\n"),
        (b"a\n" + b"\0" * 20 + b"\nc\n", b"a\n\x0020 NUL bytes\nc\n"),
        (b"a\n" + b"\0" * 20, b"a\n\x0020 NUL bytes\n"),
        (b"\0" * 20 + b"0123456789x\n", b"\x0020 NUL bytes\n\x0012 too long\n"),
        (b"x" * 20 + b"\r\nb", b"\x0022 too long\nb"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_overlong_lines_are_replaced(
    text: bytes, expected: bytes | None, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_lines, "_READ_BYTES", chunk)
    path = tmp_path / "log"
    path.write_bytes(text)
    source = InputFile("log", str(path), "none")
    folder = TemporaryFolder()
    try:
        (copy,) = long_lines.shortened_copies([source], 10, folder)
        assert copy.name == "log"
        if expected is None:
            assert copy is source
        else:
            assert Path(copy.path).read_bytes() == expected
    finally:
        folder.remove()


@pytest.mark.parametrize("report", ["summary", "errors", "audit", "sessions"])
@pytest.mark.parametrize("text", ['{"a":1}\n', "hello\nworld\n", "\x00\x01\x02"])
def test_file_that_is_no_log_is_nothing_to_read(tmp_path: Path, report: str, text: str) -> None:
    (tmp_path / "f").write_text(text)
    answer = ReportAnswer(report, tmp_path / "f")
    assert answer.code == 2
    assert "is a log line of Greenroom" in answer.errors
    assert answer.text == ""


def test_page_of_a_file_that_is_no_log_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n")
    answer = ReportAnswer("report", "--html", tmp_path / "page.html", tmp_path / "f")
    assert answer.code == 2
    assert not (tmp_path / "page.html").exists()


def test_bad_lines_of_a_file_that_is_no_log_are_listed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n")
    answer = ReportAnswer("summary", "--bad-lines", "--json", tmp_path / "f")
    assert answer.code == 2
    assert [row["wrong"] for row in answer.rows("bad_lines")] == ["not a JSON object"]


def test_empty_log_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    answer = ReportAnswer("summary", tmp_path / "f")
    assert answer.code == 0
    assert "nothing to report" in answer.errors


@pytest.mark.parametrize(
    "words",
    [
        ("--threads", "9999999"),
        ("--threads", "0"),
        ("--threads", "-1"),
        ("--threads", "1" * 400),
        ("--memory", "99999999999TB"),
        ("--since", "9999999w"),
    ],
)
def test_absurd_sizes_give_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    answer = ReportAnswer("summary", *words, two_lines(tmp_path / "log"))
    assert answer.code == 2
    assert answer.errors.startswith("chat-logs: ")
    assert answer.errors.count("\n") == 1


@pytest.mark.parametrize(
    ("report", "flag"),
    [("sessions", "--limit"), ("rtt", "--top"), ("slow", "--top"), ("storms", "--top"), ("audit", "--top")],
)
@pytest.mark.parametrize("number", ["9" * 30, "-1", "1e9", "٣", "nan"])
def test_absurd_numbers_of_rows_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], report: str, flag: str, number: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([report, flag, number, str(two_lines(tmp_path / "log"))])
    assert ended.value.code == 2
    assert "must be a number from" in capsys.readouterr().err


@pytest.mark.parametrize("noise", ["nan", "inf", "-1"])
def test_absurd_noise_is_wrong_usage(tmp_path: Path, noise: str) -> None:
    path = two_lines(tmp_path / "log")
    answer = ReportAnswer("compare", "--noise", noise, path, path)
    assert answer.code == 2
    assert "--noise" in answer.errors


def test_query_that_is_no_text_is_wrong_usage(real_log: Path) -> None:
    done = subprocess.run(
        [COMMAND.encode(), b"sql", b"select '\xe9'", str(real_log).encode()],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == b"chat-logs: the query is not valid text in this locale: \"select '\\udce9'\"\n"


@pytest.mark.parametrize(
    "flag", [b"--room", b"--user", b"--node", b"--since", b"--table", b"--anonymize-key"]
)
def test_option_that_is_no_text_is_wrong_usage(real_log: Path, flag: bytes) -> None:
    done = subprocess.run(
        [COMMAND.encode(), b"summary", flag, b"/\xe9/\xe9", str(real_log).encode()],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == cli.EXIT_USAGE
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_locale_without_our_characters_gets_plain_ones(real_log: Path, encoding: str) -> None:
    done = subprocess.run(
        [COMMAND, "summary", str(real_log)],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode(encoding)
    assert "\\u" not in text
    assert "-----" in text
    assert "us" in text if encoding == "ascii" else "µs" in text


@pytest.mark.parametrize(
    ("columns", "widest"),
    [("0", 80), ("-5", 80), ("x", 80), ("²", 80), ("1", 40), ("40", 40), ("9" * 9, 200), ("9" * 5000, 200)],
)
def test_width_that_makes_no_sense_still_gives_a_report(real_log: Path, columns: str, widest: int) -> None:
    done = run("summary", real_log, env=os.environ | {"COLUMNS": columns})
    assert (done.returncode, done.stderr) == (0, "")
    assert "Activity" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= widest


def test_missing_package_is_named(real_log: Path, tmp_path: Path) -> None:
    page = ["report", "--html", str(tmp_path / "page.html")]  # the others do without what only it needs
    needs: dict[str, list[str]] = {name: ["summary"] for name in ("duckdb", "numpy", "rich")}
    needs |= dict.fromkeys(("plotly", "jinja2"), page)
    for name, command in needs.items():
        code = (
            f"import sys\nsys.modules[{name!r}] = None\n"
            "from chat_ops.cli import main\nsys.exit(main(sys.argv[1:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *command, str(real_log)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == (
            f"chat-logs: {name} is not installed: run pip install '.[ops]' in the checkout of Greenroom\n"
        )

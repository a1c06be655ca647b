import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import gevent
import pytest

from chat_server.observability import log_sink
from chat_server.observability.event_log import EventLogger, setup
from chat_server.observability.log_sink import MAX_CHUNK_BYTES, LogSink
from chat_server.vocabulary import LogEvent
from support.log_files.log_setup import (
    DISK_FULL_COMPLAINT,
    NO_ENVIRONMENT,
    SERVER,
    Pipe,
    config,
    lines,
    open_files,
    until,
)


def test_sink_writes_lines_queued_before_and_after_start(log: EventLogger, path: Path) -> None:
    log.logger.info(LogEvent.SERVER_STARTED)
    log.sink.start()
    until(lambda: len(lines(path)) == 1)
    log.logger.info(LogEvent.SERVER_STOPPING)
    until(lambda: len(lines(path)) == 2)
    assert [line["event"] for line in lines(path)] == ["server_started", "server_stopping"]


def test_sink_writes_in_thread_pool_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    really = log_sink._write

    def write(descriptor: int, data: bytes, patience: float) -> int:
        threads.add(threading.get_ident())
        return really(descriptor, data[:7], patience)

    monkeypatch.setattr(log_sink, "_write", write)
    sink = LogSink(str(path))
    sink.start()
    for number in range(200):
        sink.put(b"%d\n" % number)
        if number % 10 == 0:
            gevent.sleep(0)
    until(lambda: path.read_bytes().count(b"\n") == 200)
    sink.close()
    assert path.read_text() == "".join(f"{number}\n" for number in range(200))
    assert threading.get_ident() not in threads


def test_sink_accepts_lines_from_threads_while_loop_is_idle(log: EventLogger, path: Path) -> None:
    log.sink.start()
    gevent.sleep(0)

    def work(name: str) -> None:
        for number in range(500):
            log.logger.info(LogEvent.HUB_BLOCKED, reason=name, count=number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    until(lambda: path.exists() and path.read_bytes().count(b"\n") == 1500)  # nothing else wakes the writer
    for thread in threads:
        thread.join()
    for name in "abc":
        assert [line["count"] for line in lines(path) if line["reason"] == name] == list(range(500))


def test_sink_flush_in_thread_works_while_loop_is_blocked(log: EventLogger, path: Path) -> None:
    log.sink.start()

    def report() -> None:
        log.logger.error(LogEvent.HUB_BLOCKED)
        assert log.sink.flush()

    thread = threading.Thread(target=report)
    thread.start()
    thread.join()  # a native join: the loop of this thread is blocked
    assert [line["event"] for line in lines(path)] == ["hub_blocked"]


def test_sink_writes_more_than_one_chunk(path: Path) -> None:
    sink = LogSink(str(path))
    line = b"x" * 99_999 + b"\n"
    for _ in range(3 * MAX_CHUNK_BYTES // len(line)):
        sink.put(line)
    assert sink.flush()
    assert path.read_bytes() == line * (3 * MAX_CHUNK_BYTES // len(line))
    assert sink.lines_dropped == 0
    sink.close()


def test_idle_sink_does_not_keep_loop_alive() -> None:
    code = (
        "import gevent; from chat_server.observability.log_sink import LogSink; "
        "LogSink().start(); gevent.wait()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SERVER, check=True, timeout=60)


# ---- reopen


def test_reopen_after_rename_writes_new_file(log: EventLogger, path: Path) -> None:
    path.write_text("{}\n")  # lines of an earlier run stay
    log.sink.start()
    log.logger.info(LogEvent.SERVER_STARTED)
    until(lambda: len(lines(path)) == 2)
    held = open_files()
    moved = path.rename(path.with_suffix(".1"))

    log.sink.reopen()
    until(lambda: path.exists() and lines(path))
    log.logger.info(LogEvent.SERVER_STOPPING)
    until(lambda: len(lines(path)) == 2)

    assert [line.get("event") for line in lines(moved)] == [None, "server_started"]
    assert open_files() == held
    assert [line["event"] for line in lines(path)] == ["log_reopened", "server_stopping"]
    assert lines(path)[0]["path"] == str(path)


def test_failed_reopen_keeps_old_file_and_logs_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = setup(config(folder / "chat.log"), NO_ENVIRONMENT)
    log.sink.start()
    moved = folder.rename(tmp_path / "moved") / "chat.log"

    log.sink.reopen()
    until(lambda: lines(moved))
    log.sink.close()

    (line,) = lines(moved)
    assert (line["level"], line["event"]) == ("error", "log_reopened")
    assert "No such file or directory" in line["error"]
    assert "No such file or directory" in capfd.readouterr().err


def test_reopen_repeats_partly_written_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = log_sink._write
    full = OSError(28, "No space left on device")
    left = [14]

    def write(descriptor: int, data: bytes, patience: float) -> int:
        if not left[0]:
            raise full
        size = min(left[0], len(data))
        left[0] -= size
        return really(descriptor, data[:size], patience)

    monkeypatch.setattr(log_sink, "_write", write)
    sink = LogSink(str(path), retry_interval_s=0.01)
    sink.put(b"first line\n")
    sink.put(b"second line\n")
    sink.start()
    until(lambda: sink.write_failures)
    moved = path.rename(path.with_suffix(".1"))
    left[0] = 1000
    sink.reopen()
    until(lambda: path.exists() and path.read_bytes().endswith(b"\n"))
    sink.close()
    assert moved.read_bytes() == b"first line\nsec"
    assert path.read_bytes() == b"second line\n"


# ---- failures


def test_setup_in_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        setup(config(tmp_path / "nowhere" / "chat.log"), NO_ENVIRONMENT)
    with pytest.raises(IsADirectoryError):
        setup(config(tmp_path), NO_ENVIRONMENT)


def test_setup_with_pipe_without_reader_raises(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device or address"):
        setup(config(tmp_path / "fifo"), NO_ENVIRONMENT)


def test_full_disk_keeps_lines_and_reports_once_a_minute(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    path.symlink_to("/dev/full")
    sink = LogSink(str(path), retry_interval_s=0.001, clock=lambda: now[0])
    sink.start()
    sink.put(b"one\n")
    until(lambda: sink.write_failures > 20)
    said = capfd.readouterr().err
    assert said == DISK_FULL_COMPLAINT.format(path)

    now[0] = 61.0
    failures = sink.write_failures
    until(lambda: sink.write_failures > failures + 20)
    assert capfd.readouterr().err == said

    path.unlink()  # space is free again
    sink.put(b"two\n")
    sink.reopen()
    until(lambda: path.exists() and path.read_bytes() == b"one\ntwo\n")
    sink.close()
    assert capfd.readouterr().err == ""


def test_report_of_dropped_lines_waits_for_space(path: Path) -> None:
    path.symlink_to("/dev/full")
    sink = LogSink(str(path), max_queue_bytes=300, retry_interval_s=0.001)
    log = setup(config(""), NO_ENVIRONMENT, sink=sink)
    sink.start()
    log.logger.info(LogEvent.SERVER_STARTED)
    until(lambda: sink.write_failures)  # the first line is being written, without success
    for _ in range(10):
        log.logger.info(LogEvent.INTERVAL)
    dropped = sink.lines_dropped
    failures = sink.write_failures
    until(lambda: sink.write_failures > failures + 20)
    assert sink.lines_dropped == dropped

    path.unlink()
    sink.reopen()
    until(lambda: path.exists() and lines(path)[-1]["event"] == "log_lines_dropped")
    sink.close()
    assert lines(path)[-1]["count"] == sink.lines_dropped


def test_flush_reports_lines_that_are_left(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.symlink_to("/dev/full")
    sink = LogSink(str(path))
    sink.put(b"one\n")
    sink.put(b"two\n")
    assert not sink.flush()
    assert "2 lines wait" in capfd.readouterr().err
    sink.close()


def test_closed_pipe_does_not_stop_the_sink(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    os.close(pipe.reader)
    sink = LogSink(descriptor=pipe.writer, retry_interval_s=0.001)
    sink.start()
    sink.put(b"one\n")
    until(lambda: sink.write_failures > 5)
    assert "standard output: Broken pipe" in capfd.readouterr().err
    sink.close()


def test_paused_reader_drops_lines_without_blocking(pipe: Pipe) -> None:
    sink = LogSink(descriptor=pipe.writer, max_queue_bytes=20_000, retry_interval_s=0.001)
    log = setup(config(""), NO_ENVIRONMENT, sink=sink)
    sink.start()
    number = 0
    while sink.lines_dropped < 10:  # the loop goes on without a reader
        number += 1
        log.logger.info(LogEvent.MESSAGE, seq=number)
        gevent.sleep(0)
    dropped = sink.lines_dropped
    assert sink.write_failures == 0

    got = b""

    def reported() -> bool:
        nonlocal got
        got += pipe.read()
        return b"log_lines_dropped" in got and got.endswith(b"\n")

    until(reported)
    sink.close()
    read = [json.loads(line) for line in got.splitlines()]
    seqs = [line["seq"] for line in read if line["event"] == "message"]
    assert seqs == list(range(1, number - dropped + 1))
    assert [line["count"] for line in read if line["event"] == "log_lines_dropped"] == [dropped]


def test_flush_gives_up_on_a_stalled_reader(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    sink = LogSink(descriptor=pipe.writer)
    for _ in range(10):
        sink.put(b"x" * 999 + b"\n")
    assert not sink.flush(stall_timeout_s=0.01)
    assert "not reading" in capfd.readouterr().err
    assert sink.write_failures == 0  # slow is no failure
    pipe.read()
    assert not sink.flush(stall_timeout_s=0.01)
    sink.close(stall_timeout_s=0.01)


def test_close_closes_file_and_counts_later_lines(path: Path) -> None:
    held = open_files()
    sink = LogSink(str(path))
    sink.put(b"")
    sink.flush()
    sink.close()
    assert open_files() == held
    sink.put(b"late\n")
    assert sink.lines_dropped == 1
    assert path.read_bytes() == b""


PROGRAM = """
    import os, sys
    import gevent
    from chat_server.settings.load import Config
    from chat_server.observability.event_log import setup
    from chat_server.vocabulary import LogEvent
    try:
        log = setup(Config(), os.environ)
    except OSError as error:
        sys.exit(f"no log: {error.strerror}" if sys.stderr else 3)
    log.sink.start()
    log.logger.info(LogEvent.SERVER_STARTED)
    log.sink.close()
"""


def test_closed_stderr_is_never_written_to(tmp_path: Path) -> None:
    # With standard error closed, the next file that is opened gets its number.
    program = f"import os\nos.open({str(tmp_path / 'store.db')!r}, os.O_RDWR | os.O_CREAT)\n"
    run = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >/dev/full 2>&-', sys.executable, program + textwrap.dedent(PROGRAM)],
        cwd=SERVER,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0
    assert (tmp_path / "store.db").read_bytes() == b""


@pytest.mark.parametrize(
    ("redirection", "code", "err"),
    [
        ("", 0, ""),
        (">&-", 1, "no log: standard output is closed\n"),
        (">/dev/full 2>&-", 0, ""),
        (
            ">/dev/full",
            0,
            DISK_FULL_COMPLAINT.format("standard output"),
        ),
    ],
)
def test_standard_output_of_a_program(redirection: str, code: int, err: str) -> None:
    run = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, "-c", textwrap.dedent(PROGRAM)],
        cwd=SERVER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (code, err)
    if not redirection:
        assert json.loads(run.stdout)["event"] == "server_started"

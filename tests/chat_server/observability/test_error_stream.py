import os
from pathlib import Path

import gevent
import pytest

from chat_server.observability.error_stream import MAX_PART_BYTES, MAX_QUEUED_PARTS, BackgroundErrorStream
from chat_server.observability.event_log import EventLogger
from chat_server.process import log_failed_greenlets
from support.log_files.log_setup import Pipe, lines, until
from support.processes.process import TIMEOUT_S


def test_stream_writes_in_order_and_escapes_what_cannot_be_encoded(pipe: Pipe) -> None:
    stream = BackgroundErrorStream(pipe.writer)
    stream.write("caf\u00e9 ")
    print("\udce9", file=stream)
    assert stream.wait_written(TIMEOUT_S)
    assert pipe.read() == "caf\u00e9 \\udce9\n".encode()


def test_stream_that_is_not_read_blocks_nobody_and_is_bounded(pipe: Pipe) -> None:
    stream = BackgroundErrorStream(pipe.writer)
    for _ in range(3 * MAX_QUEUED_PARTS):
        assert stream.write("x" * 2 * MAX_PART_BYTES) == 2 * MAX_PART_BYTES
    assert 2 * MAX_QUEUED_PARTS >= stream.parts_dropped > MAX_QUEUED_PARTS
    assert not stream.wait_written(0.01)

    got = b""
    while len(got) < MAX_QUEUED_PARTS * MAX_PART_BYTES:
        got += pipe.read()
    assert stream.wait_written(TIMEOUT_S)


def test_stream_without_a_reader_drops_and_goes_on(pipe: Pipe) -> None:
    os.close(pipe.reader)
    stream = BackgroundErrorStream(pipe.writer)
    stream.write("to nobody\n")
    assert stream.wait_written(TIMEOUT_S)
    stream.write("to nobody\n")
    assert stream.wait_written(TIMEOUT_S)


def test_what_a_greenlet_raises_is_logged_and_not_printed(
    log: EventLogger, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    monkeypatch.setattr(gevent.get_hub(), "print_exception", None)
    log_failed_greenlets(log.logger)
    log.sink.start()

    gevent.spawn(fail).join()
    timer = gevent.get_hub().loop.timer(0)
    timer.start(fail)

    until(lambda: len(lines(path)) == 2)
    timer.close()
    assert {(line["event"], line["error"]) for line in lines(path)} == {("internal_error", "nothing there")}
    assert capsys.readouterr().err == ""

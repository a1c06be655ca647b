import os
import pty
import re
import sys
import termios
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chat_server.observability.event_log import EventLogger, setup, to_printable
from chat_server.observability.log_sink import LogSink
from chat_server.vocabulary import LogEvent
from support.log_files.log_setup import NO_ENVIRONMENT, config, lines


def test_line_is_json_object_with_common_fields_first(log: EventLogger, path: Path) -> None:
    before = datetime.now(UTC)
    log.logger.info(LogEvent.SESSION_OPENED, session_id="s1", username="ann\n\u202e", address="::1:9")
    log.sink.flush()

    (line,) = lines(path)
    assert list(line) == ["ts", "level", "event", "node", "session_id", "username", "address"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["ts"])
    assert timedelta(0) <= datetime.fromisoformat(line["ts"]) - before <= timedelta(minutes=2)
    assert (line["level"], line["event"], line["node"]) == ("info", "session_opened", "east-1")
    assert line["username"] == "ann\n\u202e"
    assert path.read_bytes().count(b"\n") == 1


def test_fields_without_value_are_left_out(log: EventLogger, path: Path) -> None:
    log.logger.info(LogEvent.SESSION_CLOSED, rtt_min_ms=None, messages_in=0, reason="")
    log.sink.flush()
    assert list(lines(path)[0])[4:] == ["messages_in", "reason"]


def test_bound_fields_are_in_each_line(log: EventLogger, path: Path) -> None:
    session = log.logger.bind(session_id="s1")
    session.warning(LogEvent.INTERNAL_ERROR)
    session.error(LogEvent.INTERNAL_ERROR)
    log.sink.flush()
    assert [(line["level"], line["session_id"]) for line in lines(path)] == [
        ("warning", "s1"),
        ("error", "s1"),
    ]


def test_lines_below_the_level_are_not_logged(path: Path) -> None:
    log = setup(config(path, log_level="warning"), NO_ENVIRONMENT)
    log.logger.debug(LogEvent.MESSAGE)
    log.logger.info(LogEvent.MESSAGE)
    log.logger.warning(LogEvent.DISK_LOW)
    log.logger.error(LogEvent.STORE_FAILED)
    log.sink.close()
    assert [line["event"] for line in lines(path)] == ["disk_low", "store_failed"]


@pytest.mark.parametrize("way", ["true", "method", "error", "tuple"])
def test_an_exception_becomes_fields_of_the_vocabulary(way: str, log: EventLogger, path: Path) -> None:
    try:
        raise KeyError("nobody")  # noqa: TRY301
    except KeyError as error:
        given = {"error": error, "tuple": sys.exc_info()}
        if way == "true":
            log.logger.error(LogEvent.INTERNAL_ERROR, exc_info=True)  # noqa: G201  one of the ways
        if way == "method":
            log.logger.exception(LogEvent.INTERNAL_ERROR)
    if way in given:  # also after the handler
        log.logger.error(LogEvent.INTERNAL_ERROR, exc_info=given[way])
    log.sink.flush()
    (line,) = lines(path)
    assert (line["error"], line["error_type"]) == ("'nobody'", "KeyError")
    assert "test_an_exception_becomes_fields" in line["stack"]
    assert "exc_info" not in line


def test_logging_never_fails_whatever_the_value(log: EventLogger, path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    odd = {"error": "\udcff", "count": 2**70, "path": Path("/x"), "rooms": {"a": {1, 2}}, "reason": loop}
    for name, value in odd.items():
        log.logger.info(LogEvent.INTERNAL_ERROR, **{name: value, "seq": 1, "lag_ms": float("nan")})
    log.sink.flush()
    assert [next(name for name in odd if name in line) for line in lines(path)] == list(odd)


# ---- on a terminal


def on_a_terminal(environ: Mapping[str, str], event: LogEvent, **fields: object) -> str:
    """Return the line as it is written to a terminal."""
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST  # or the terminal turns \n into \r\n
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    log = setup(config(""), environ, sink=LogSink(descriptor=theirs))
    log.logger.info(event, **fields)
    assert log.sink.flush()
    data = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    return data


def test_a_terminal_gets_colours_and_the_time_of_day() -> None:
    shown = on_a_terminal({"TERM": "xterm"}, LogEvent.SESSION_OPENED, username="ann")
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \[info\s*\] session_opened +username=ann\n", plain)


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_without_colours_if_not_wanted(environ: Mapping[str, str]) -> None:
    shown = on_a_terminal(environ, LogEvent.SESSION_OPENED, username="ann")
    assert "\x1b" not in shown
    assert "username=ann" in shown


def test_empty_no_color_is_ignored() -> None:
    assert "\x1b[" in on_a_terminal({"NO_COLOR": ""}, LogEvent.SESSION_OPENED, username="ann")


def test_escape_codes_in_values_are_escaped_on_a_terminal() -> None:
    evil = "\x1b[2J\x9b\r\n\x07\u202e\u200b"
    shown = on_a_terminal(
        {"NO_COLOR": "1"},
        LogEvent.INTERNAL_ERROR,
        username=evil,
        errors={evil: 1},
        rooms=[{"room": evil, "messages": 3}],
        stack=f"a\n{evil}b",
    )
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert shown.count("\\x1b[2J") == 4
    assert "\x1b" not in on_a_terminal({"NO_COLOR": "1"}, LogEvent.SESSION_OPENED, username="\x1b[2J")


def test_stacks_keep_their_lines_on_a_terminal() -> None:
    assert "one\n  two" in on_a_terminal({"NO_COLOR": "1"}, LogEvent.STACKS, stack="one\n  two")


def test_histograms_are_left_out_on_a_terminal() -> None:
    shown = on_a_terminal(
        {"NO_COLOR": "1"},
        LogEvent.INTERVAL,
        accept_to_commit="HISTFAAAA",
        rooms=[{"room": "lobby", "messages": 3, "commit_to_sent": "HISTFAAAA"}],
        count=1,
    )
    assert "HISTFAAAA" not in shown
    assert "lobby" in shown
    assert "count=1" in shown


def test_a_file_gets_json_and_no_colours_even_if_they_are_wanted(path: Path) -> None:
    log = setup(config(path), {"TERM": "xterm", "FORCE_COLOR": "1"})
    log.logger.info(LogEvent.INTERVAL)
    log.sink.close()
    assert lines(path)[0]["event"] == "interval"


def test_printable_text_is_shown_as_it_is() -> None:
    assert to_printable("zoë 漢字 🙂") == "zoë 漢字 🙂"
    assert to_printable("a\tb\0") == "a\\tb\\x00"


# ---- the writer


class Unspeakable(Exception):  # noqa: N818  it is never raised
    def __str__(self) -> str:
        raise RuntimeError("not me")

    __repr__ = __str__


@pytest.mark.parametrize("fields", [{"exc_info": Unspeakable()}, {"error": Unspeakable()}])
def test_line_that_cannot_be_rendered_is_replaced(
    fields: dict[str, Any], log: EventLogger, path: Path
) -> None:
    log.logger.error(LogEvent.INTERNAL_ERROR, **fields)
    log.sink.flush()
    (line,) = lines(path)
    assert (line["event"], line["level"], line["node"]) == ("internal_error", "error", "east-1")
    assert "RuntimeError" in line["error"]

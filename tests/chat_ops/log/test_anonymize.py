"""Anonymized output has no name, room, address or free text; equal originals get equal pseudonyms."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_ops import cli
from chat_ops.log import anonymize
from chat_ops.log.columns import COLUMNS
from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog
from chat_ops.reports import REPORTS

MARK = "sesame"
"""In each original: where it turns up, something was not replaced. (No hexadecimal number has it.)"""
ADDRESS = "203.0.113.77:4242"
IDENTIFYING_FIELDS = (
    *("username", "session_id", "node", "room", "host", "epoch"),
    *("error", "stack", "path", "store"),
)
KEY = "k" * 32


def marked(entry: dict[str, object]) -> dict[str, object]:
    for field in IDENTIFYING_FIELDS:
        if field in entry:
            entry[field] = f"{MARK} {entry[field]}"
    if "address" in entry:
        entry["address"] = ADDRESS
    if str(entry.get("room", "")).startswith(f"{MARK} @"):
        entry["room"] = f"@{MARK}-ann,{MARK}-bob"
    for room in entry.get("rooms", ()):  # type: ignore[attr-defined]
        room["room"] = f"{MARK} {room['room']}"
    return entry


@pytest.fixture(scope="module")
def marked_log(real_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real lines whose names are marked, and lines with what the real run had none of."""
    path = tmp_path_factory.mktemp(MARK) / f"{MARK}.log"
    entries = [marked(json.loads(line)) for line in real_log.read_text().splitlines()]
    start = entries[0]
    every = dict.fromkeys(("error", "stack", "path", "store", "host", "room", "username", "session_id"), MARK)
    for event, level in (("internal_error", "error"), ("disk_low", "warning"), ("reader_lagging", "warning")):
        more = {"behind": 5, "address": "[2001:db8::1]:7", "changed": {"motd": MARK}, "duration_s": 1.5}
        entries.append({**start, "event": event, "level": level, **every, **more})
    lines = [json.dumps(entry) for entry in entries]
    path.write_text("\n".join([*lines, f'{{"ts":"{MARK}', f"{MARK} was here"]) + "\n")
    return path


def commands() -> Iterator[tuple[str, ...]]:
    for name in REPORTS:
        match name:
            case "sql":
                yield (name, "select * from lines")
                yield (name, "select sql from duckdb_views() union all select value from duckdb_settings()")
                yield (name, "select getvariable('anonymize_key')")
            case "errors":
                yield (name, "--stacks")
            case _:
                yield (name,)


@pytest.mark.parametrize("form", ["--json", "--anonymize"])
@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_no_original_is_in_any_output(
    command: tuple[str, ...], form: str, marked_log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    files = [str(marked_log)] * (2 if command[0] == "compare" else 1)
    code = cli.main(["--anonymize-key", str(key), form, "--bad-lines", *command, *files])
    shown, said = capfd.readouterr()
    assert code == 0, said
    assert shown
    for text in (shown, said):
        for original in (MARK, "203.0.113", "2001:db8", KEY):
            assert original not in text.lower()


def test_anonymize_test_values_are_in_plain_output(
    marked_log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--json", "sql", "select * from lines", str(marked_log)]) == 0
    shown = capfd.readouterr().out
    for original in (MARK, "203.0.113", "2001:db8", f"@{MARK}-ann"):
        assert original in shown


def answers(path: Path, key: str, question: str) -> list[tuple[object, ...]]:
    with EventLog([str(path)], anonymize_key=key) as log:
        return log.rows(question)


def test_words_are_stable_by_key_and_agree_between_names_and_conversations(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("w") as file:
        for number, (user, room) in enumerate([("Ann", "@ann,bob"), ("BOB", "@ann,bob#2"), ("ann", "lobby")]):
            entry = {"ts": f"2026-11-21T10:00:0{number}Z", "event": "message", "username": user, "room": room}
            file.write(json.dumps({**entry, "address": f"10.1.2.{number}:80"}) + "\n")
    question = "SELECT username, room, address FROM lines ORDER BY ts"
    found = answers(path, KEY, question)
    assert found == answers(path, KEY, question)
    assert found != answers(path, "other" * 8, question)
    ann, bob, again = (row[0] for row in found)
    assert ann == again != bob
    assert found[0][1] == "@" + ",".join(sorted([str(ann), str(bob)]))
    assert found[1][1] == f"{found[0][1]}#2"
    nets = {str(row[2]).rsplit(".", 1)[0] for row in found}
    assert len(nets) == 1
    assert len({row[2] for row in found}) == 3


def test_columns_without_personal_data_are_listed() -> None:
    """A new field of the vocabulary must be classified here: personal data or not."""
    harmless = {
        *("ts", "level", "event", "version", "pid", "port", "sync", "signal", "dialect", "reason", "resumed"),
        *("errors", "closed", "refused", "accept_to_commit", "commit_to_sent", "rtt", "error_type"),
        "restart_needed",
    }
    numbers = {name for name, kind in COLUMNS.items() if kind in {"BIGINT", "DOUBLE"}}
    assert set(COLUMNS) - harmless - numbers == set(anonymize.EXPRESSIONS) - {"file"}


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = anonymize.load_key(str(path))
    assert anonymize.load_key(str(path)) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert anonymize.load_key(None) != anonymize.load_key(None)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_anonymize_bad_key_gives_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        anonymize.load_key(str(path))
    with pytest.raises(UsageError):
        anonymize.load_key(str(tmp_path))

"""Instructions a message: what is read of Callgrind's files, and, where it is installed, that it counts."""

from pathlib import Path

import pytest

from chat_bench import instructions
from chat_bench.instructions import (
    LOGIN,
    MANY,
    ROOM_ONE,
    Counted,
    Load,
    Recorded,
    compare,
    count,
    dumped,
    environment,
    main,
    page,
)
from chat_bench.process import BenchError, find_program
from chat_bench.results import write_json

needs_valgrind = pytest.mark.skipif(
    not all(map(find_program, (*instructions.TOOLS, "chat-server"))), reason="valgrind is not installed"
)


def test_totals_are_read_from_the_end_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "counts.1-01"
    file.write_text("desc: Trigger: x\nevents: Ir\nsummary: 12\n\nfn=(1)\n0 12\ntotals: 34 56\n")
    assert dumped(file) == 34


def test_a_file_that_is_not_there_or_not_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did not write counts"):
        dumped(tmp_path / "counts.1-01")
    file = tmp_path / "counts.2-01"
    file.write_text("events: Ir\n")
    with pytest.raises(BenchError, match=r"counts\.2-01 has no totals"):
        dumped(file)


def test_the_table_has_medians_and_their_ratio() -> None:
    shown = page({"greenroom": {"a message": [101.0, 99.0, 102.0]}, "other": {"a message": [100.0]}})
    assert "101 (99-102)" in shown
    assert "1.0100" in shown


def test_without_valgrind_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "TOOLS", ("valgrind-of-nowhere",))
    with pytest.raises(BenchError, match="valgrind-of-nowhere is not installed here"):
        main([])


def test_what_takes_more_than_was_recorded_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "counts.json"
    before = {"a message": 1000.0, "a log-in": 5000.0, "gone": 1.0}
    write_json(file, Recorded(environment(), before))
    assert not compare({"a message": 1049.0, "a log-in": 4000.0}, file)
    assert compare({"a message": 1051.0, "a log-in": 5000.0}, file) == [
        "a message: 1,051 instructions, 5.1% more than 1,000"
    ]
    # What another Python executes is no measure of this one
    write_json(file, Recorded("Python 2", before))
    assert not compare({"a message": 9000.0}, file)
    assert "not compared" in capsys.readouterr().out
    with pytest.raises(BenchError, match="cannot be read"):
        compare({}, tmp_path / "none.json")


@needs_valgrind
@pytest.mark.timeout(600)
def test_instructions_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "RECEIVERS", 4)
    monkeypatch.setattr(instructions, "IDLE_S", 0.2)
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    many = Load(MANY.title, 2, 4, 4)
    monkeypatch.setattr(instructions, "MANY", many)
    room = Load(ROOM_ONE.title, 2, 4)
    login = Load(LOGIN.title, 1, 2)
    monkeypatch.setattr(instructions, "LOGIN", login)
    program = find_program("chat-server")
    assert program
    found = count(Counted(program), [many, room, login], 1, lambda _: None)
    assert all(len(counts) == 1 and counts[0] > 0 for counts in found.values()), found

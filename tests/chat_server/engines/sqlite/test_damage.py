"""Damaged rows and pages of the log: what cannot be read is left out and reported, all else is served."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.core.ports.log import StoredAt, StoreUnavailable, ref_key
from chat_server.core.ports.registry import EndedRoom, RegistryChanges
from chat_server.engines.engine import IndexRebuilt, Unreadable
from chat_server.engines.sqlite import damage, reader
from chat_server.engines.sqlite.connect import PAGE_BYTES
from chat_server.engines.sqlite.damage import UnreadableRows
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, Room, events, saved, session, texts

Open = Callable[..., SqliteEngine]
ROWS = 300


def word(number: int) -> str:
    return f"number-{number:05d}"


@pytest.fixture
def written(open_store: Open, path: Path) -> Path:
    """A data file with messages in one room: the text of seq N is `word(N)`; and a few in others."""
    store = open_store()
    pen = Pen(store)
    for number in range(1, ROWS + 1):
        pen.say("a", word(number))
        if number % 10 == 0:
            pen.say("b", f"b{number}")
    store.maintain()
    store.close()
    return path


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def page_of(path: Path, text: bytes) -> int:
    """Return the number, from 0, of the page with this text."""
    return path.read_bytes().index(text) // PAGE_BYTES


def fill_page(path: Path, page: int, byte: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(byte * PAGE_BYTES)


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(statement, values)


def unreadable(store: SqliteEngine) -> list[Unreadable]:
    return [one for one in store.take_notices() if isinstance(one, Unreadable)]


def room_of(store: SqliteEngine, name: str = "a") -> Room:
    return next(Room.of(row) for row in store.public_rooms() if row.name == name)


HARMS = {
    "not UTF-8": lambda path: overwrite(path, b"number-00200", b"number-\xff0200"),
    "another text": lambda path: overwrite(path, b"number-00200", b"number-00201"[:7] + b"99999"),
    "another author": lambda path: change(path, "UPDATE log SET username = 'eve' WHERE text = ?", word(200)),
    "another ref": lambda path: change(path, "UPDATE log SET ref = 'x' WHERE text = ?", word(200)),
    "another session": lambda path: change(path, "UPDATE log SET session = 'x' WHERE text = ?", word(200)),
    "another identity": lambda path: change(path, "UPDATE log SET identity = 99 WHERE text = ?", word(200)),
    "another origin": lambda path: change(path, "UPDATE log SET origin = 'server' WHERE text = ?", word(200)),
    "text of no type": lambda path: change(path, "UPDATE log SET text = x'00ff' WHERE text = ?", word(200)),
    "text that is none": lambda path: change(
        path, "UPDATE log SET checksum = NULL, text = x'00ff' WHERE text = ?", word(200)
    ),
    "another checksum": lambda path: change(path, "UPDATE log SET checksum = 1 WHERE text = ?", word(200)),
    "another seq": lambda path: change(path, "UPDATE log SET seq = 900 WHERE text = ?", word(200)),
    "another room": lambda path: change(path, "UPDATE log SET room = 2, seq = 7 WHERE text = ?", word(200)),
    "missing": lambda path: change(path, "DELETE FROM log WHERE text = ?", word(200)),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("newest", [False, True], ids=["oldest first", "newest first"])
def test_damaged_row_is_left_out_and_reported_once(
    written: Path, open_store: Open, harm: Callable[[Path], None], *, newest: bool
) -> None:
    harm(written)
    store = open_store()
    room = room_of(store)
    others = [word(number) for number in range(1, ROWS + 1) if number != 200]
    for _ in range(2):
        assert [one.message for one in events(store, room, newest=newest)] == others
    found = unreadable(store)
    assert [(one.room, one.first, one.last) for one in found] == [("a", 200, 200)]
    assert not any("number" in one.error for one in found)  # no text of a message in the log
    assert store.unreadable_messages == 1
    assert len(events(store, room_of(store, "b"))) == ROWS // 10
    pen = Pen(store)
    assert pen.say("a", "on")[0].seq == ROWS + 1


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_page_of_history_goes_on_behind_a_damaged_row(
    written: Path, open_store: Open, harm: Callable[[Path], None]
) -> None:
    harm(written)
    store = open_store()
    room = room_of(store)
    assert [one.seq for one in store.read(room.id, "a", 0, 201, 1, newest=True)] == [199]
    assert [one.seq for one in store.read(room.id, "a", 199, 400, 1, newest=False)] == [201]
    assert [one.seq for one in store.read(room.id, "a", 198, 202, 9, newest=True)] == [199, 201]
    assert store.read(room.id, "a", 199, 201, 9, newest=False) == []


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"\x0d"])
def test_damaged_page_costs_its_messages_only(written: Path, open_store: Open, byte: bytes) -> None:
    fill_page(written, page_of(written, word(150).encode()), byte)
    store = open_store()
    found = texts(store, room_of(store))
    lost = {word(number) for number in range(1, ROWS + 1)} - {*found}
    assert word(150) in lost
    assert len(lost) < 20
    assert found == sorted(found)
    assert store.unreadable_messages == len(lost)
    assert {one.room for one in unreadable(store)} == {"a"}


def test_first_and_last_row_of_a_room_may_be_damaged(written: Path, open_store: Open) -> None:
    change(written, "UPDATE log SET text = 'x' WHERE text IN (?, ?)", word(1), word(ROWS))
    store = open_store()
    room = room_of(store)
    assert room.head == ROWS
    assert texts(store, room) == [word(number) for number in range(2, ROWS)]
    assert {(one.first, one.last) for one in unreadable(store)} == {(1, 1), (ROWS, ROWS)}


def test_all_rows_of_a_room_may_be_damaged(written: Path, open_store: Open) -> None:
    change(written, "UPDATE log SET username = 'x' WHERE room = 1")
    store = open_store()
    room = room_of(store)
    for newest in (False, True):
        assert events(store, room, newest=newest) == []
    assert store.unreadable_messages == ROWS
    assert len(events(store, room_of(store, "b"))) == ROWS // 10


def test_message_of_a_damaged_row_is_not_found(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    one, two = pen.say("a", "one", "two")
    change(path, "UPDATE log SET text = 'x' WHERE id = ?", one.stored_at)
    for _ in range(2):
        assert store.find(one.stored_at) is None
    assert store.find(two.stored_at) == two.event
    (notice,) = unreadable(store)
    assert (notice.room, notice.error) == ("", "row 1: its checksum does not match")


def test_rows_of_an_earlier_version_have_no_checksum_and_are_read(written: Path, open_store: Open) -> None:
    change(written, "UPDATE log SET checksum = NULL WHERE id % 2")
    store = open_store()
    assert texts(store, room_of(store)) == [word(number) for number in range(1, ROWS + 1)]
    assert unreadable(store) == []


def test_time_of_a_message_may_be_changed(written: Path, open_store: Open) -> None:
    change(written, "UPDATE log SET at = at - 7 * 86400")
    store = open_store()
    assert {one.timestamp for one in events(store, room_of(store))} == {1.7e9 - 7 * 86400}
    assert unreadable(store) == []


def test_damage_of_the_log_costs_its_rows_only_when_the_index_is_built(
    written: Path, open_store: Open
) -> None:
    """The numbers of messages that cannot be read may be given out again: the epoch changes."""
    fill_page(written, page_of(written, word(150).encode()), b"\xff")
    written.with_name(written.name + "-index").unlink()
    for _ in range(2):  # the next start does not believe the index, either
        store = open_store()
        assert store.epoch_changed
        found = texts(store, room_of(store))
        assert 280 < len(found) < ROWS
        assert store.unreadable_messages == ROWS - len(found)
        assert room_of(store).head == ROWS
        store.close()


def test_log_of_which_most_cannot_be_read_is_refused(
    written: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "MAX_SKIPPED_ROWS", 3)
    fill_page(written, page_of(written, word(150).encode()), b"\xff")
    written.with_name(written.name + "-index").unlink()
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        open_store()


def test_retention_deletes_damaged_rows_and_believes_nothing_in_them(written: Path, open_store: Open) -> None:
    change(written, "UPDATE log SET room = 2, seq = 25 WHERE text = ?", word(5))
    store = open_store()
    b = room_of(store, "b")
    assert len(events(store, b)) == ROWS // 10
    trimmed: dict[int, int] = {}
    while more := store.trim(keep=0, before=1e12):
        trimmed |= more
        if trimmed.get(1, 0) > 100:
            break
    assert set(trimmed) == {1, 2}
    assert [one.seq for one in events(store, b)] == [*range(trimmed[2] + 1, ROWS // 10 + 1)]
    with closing(sqlite3.connect(written)) as other:
        assert other.execute("SELECT count(*) FROM log WHERE text = ?", (word(5),)).fetchone() == (0,)


@pytest.mark.parametrize("text", [word(2), word(20)], ids=["first page", "another page"])
def test_retention_goes_around_a_damaged_page(written: Path, open_store: Open, text: str) -> None:
    fill_page(written, page_of(written, text.encode()), b"\xff")
    store = open_store()
    room = room_of(store)
    trimmed: dict[int, int] = {}
    for _ in range(20):
        more = store.trim(keep=100, before=0.0)
        if not more:
            break
        trimmed |= more
    assert trimmed[room.id] == ROWS - 100
    assert texts(store, room) == [word(number) for number in range(ROWS - 99, ROWS + 1)]
    assert Pen(store).say("a", "on")[0].seq == ROWS + 1
    if text == word(2):  # by age there is no way to what is behind
        with pytest.raises(StoreUnavailable, match="retention cannot go on at a damaged page"):
            store.trim(keep=0, before=2e9)
    assert Pen(store).say("a", "on")[0].seq == ROWS + 2
    store.close()
    assert room_of(open_store()).head == ROWS + 2


@pytest.mark.parametrize("lost", ["index", "nothing"])
def test_first_page_of_the_log_may_be_damaged(written: Path, open_store: Open, lost: str) -> None:
    fill_page(written, page_of(written, word(1).encode()), b"\xff")
    if lost == "index":
        written.with_name(written.name + "-index").unlink()
    store = open_store()
    found = texts(store, room_of(store))
    assert ROWS - 20 < len(found) < ROWS
    assert found[-1] == word(ROWS)


def test_refs_are_known_though_their_rows_cannot_be_read(open_store: Open, path: Path) -> None:
    store = open_store()
    store.write(saved(session(1, "ann")))
    pen = Pen(store)
    pen.session = "s1"
    for number in range(1, 101):
        pen.register(pen.room("a"))
        pen.append((pen.room("a"), word(number)), refs=[f"r{number}"])
    store.maintain()
    store.close()
    fill_page(path, page_of(path, word(50).encode()), b"\xff")
    store = open_store()
    found = store.refs("s1", 200)
    assert [*found] == [ref_key(f"r{number}") for number in range(1, 101)]
    assert store.find(found[ref_key("r50")]) is None


def test_refs_do_not_believe_the_index(open_store: Open, path: Path) -> None:
    store = open_store()
    store.write(saved(session(1, "ann"), session(2, "bob")))
    pen = Pen(store)
    pen.register(pen.room("a"))
    for pen.session in ("s1", "s2", "s1"):
        pen.append((pen.room("a"), "one"), (pen.room("a"), "two"), refs=["r", f"of {pen.session}"])
    store.maintain()
    store.close()
    change(Path(f"{path}-index"), "UPDATE refs SET id = 3 WHERE session = 's1' AND id = 5")
    change(Path(f"{path}-index"), "UPDATE refs SET ref = 'never' WHERE session = 's1' AND id = 6")
    store = open_store()
    assert [*store.refs("s1", 9).items()] == [(ref_key("r"), StoredAt(1)), (ref_key("of s1"), StoredAt(2))]


# What is remembered

ranges = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 6)), max_size=12)


@given(ranges=ranges, asked=st.tuples(st.integers(1, 30), st.integers(0, 12)))
def test_unreadable_ranges_equal_a_set_of_seqs(ranges: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    rows, model = UnreadableRows(), set[int]()
    for first, length in ranges:
        rows.add(1, "a", first, first + length, "lost")
        model |= {*range(first, first + length + 1)}
    assert rows.messages == len(model)
    new = [seq for one in rows.take_new() for seq in range(one.first, one.last + 1)]
    assert sorted(new) == sorted(model)
    first, last = asked[0], asked[0] + asked[1]
    parts = [seq for begin, end in rows.parts_not_in(1, first, last) for seq in range(begin, end + 1)]
    assert parts == [seq for seq in range(first, last + 1) if seq not in model]
    assert rows.parts_not_in(2, first, last) == [(first, last)]


def test_unreadable_ranges_are_bounded_in_number(
    written: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "MAX_RANGES", 5)
    change(written, "UPDATE log SET username = 'x' WHERE seq % 2 AND room = 1")
    store = open_store()
    for _ in range(2):
        assert len(texts(store, room_of(store))) == ROWS // 2
    assert len(unreadable(store)) == store.unreadable_messages == 5
    assert not [one for one in store.take_notices() if isinstance(one, IndexRebuilt)]


def test_one_flipped_bit_anywhere_is_noticed_or_harmless(written: Path, open_store: Open) -> None:
    """Given a flipped bit in data file or index: what is shown is what was said, or is reported."""
    whole = [word(number) for number in range(1, ROWS + 1)]
    files = {suffix: Path(f"{written}{suffix}").read_bytes() for suffix in ("", "-index", "-mark")}
    refused = 0
    for number in range(120):
        for suffix, data in files.items():
            Path(f"{written}{suffix}").write_bytes(data)
        suffix = "-index" if number % 2 else ""
        size = len(files[suffix])
        begin = page_of(written, word(1).encode()) * PAGE_BYTES if not suffix else 0
        position = begin + (number * 7919) % (size - begin)
        with Path(f"{written}{suffix}").open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0] ^ 1 << number % 8
            file.seek(position)
            file.write(bytes([byte]))
        try:
            store = open_store()
        except sqlite3.DatabaseError:
            refused += 1  # the last page of the log, or the schema
            continue
        for name, said in (("a", whole), ("b", [f"b{n}" for n in range(10, ROWS + 1, 10)])):
            rooms = [room for room in store.public_rooms() if room.name == name]
            found = texts(store, rooms[0]) if rooms else []
            assert [text for text in said if text in found] == found, (suffix, position)
            lost = len(said) - len(found)
            assert lost <= store.unreadable_messages, (suffix, position, lost)
        store.close()
    assert refused < 12
    assert reader.PAGE_ROWS < ROWS


def test_messages_of_an_ended_room_are_deleted_around_a_damaged_page(written: Path, open_store: Open) -> None:
    fill_page(written, page_of(written, word(150).encode()), b"\xff")
    store = open_store()
    room = room_of(store)
    store.write(RegistryChanges(ended_rooms=[EndedRoom(room.id, room.key, room.head)]))
    for _ in range(20):
        if not store.trim(keep=0, before=0.0):
            break
    assert not [one for one in store.take_notices() if isinstance(one, IndexRebuilt)]
    assert texts(store, room) == []
    assert len(events(store, room_of(store, "b"))) > ROWS // 10 - 5  # some were on that page
    assert Pen(store).say("a", "again")[0].seq == ROWS + 1

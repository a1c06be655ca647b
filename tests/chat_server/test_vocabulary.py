import ast
import re
import sys
from pathlib import Path

from chat_server import vocabulary
from chat_server.vocabulary import COMMON, EVENTS, FIELDS, LogEvent


def test_every_event_has_a_meaning() -> None:
    assert set(EVENTS) == set(LogEvent)
    assert all(event.meaning.endswith(".") for event in EVENTS.values())


def test_every_event_is_logged_somewhere() -> None:
    package = Path(vocabulary.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.name != "vocabulary.py"]
    used = set(
        re.findall(r"LogEvent\.([A-Z_]+)", "".join(path.read_text(encoding="utf-8") for path in sources))
    )
    assert {event.name for event in LogEvent} - used == set()


def test_every_field_of_an_event_has_a_meaning() -> None:
    used = {field for event in EVENTS.values() for field in event.fields} | set(COMMON)
    assert used == set(FIELDS)


def test_every_meaning_is_one_sentence() -> None:
    wrong = [name for name, meaning in FIELDS.items() if not re.fullmatch(r"[A-Z].*[^.]\.", meaning)]
    assert wrong == []


def test_event_fields_are_unique_and_not_common() -> None:
    for event in EVENTS.values():
        assert len(set(event.fields)) == len(event.fields)
        assert not set(event.fields) & set(COMMON)


def test_unit_in_field_name_is_in_its_meaning() -> None:
    words = {"_ms": "millisecond", "_s": "second", "_bytes": "byte"}
    for name, meaning in FIELDS.items():
        unit = next((word for suffix, word in words.items() if name.endswith(suffix)), "")
        assert unit in meaning.lower(), name


def test_names_are_snake_case_and_values_match_their_members() -> None:
    assert [event.name.lower() for event in LogEvent] == [event.value for event in LogEvent]
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in [*FIELDS, *LogEvent])


def test_vocabulary_imports_standard_library_only() -> None:
    tree = ast.parse(Path(vocabulary.__file__).read_text(encoding="utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names

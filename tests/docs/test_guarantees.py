"""The tests that docs/guarantees.md names must exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"


def named_tests() -> list[tuple[str, str]]:
    """Return (file or folder, function or "") of each test that the page names."""
    found = []
    for row in PAGE.read_text().splitlines():
        place = ""
        for word in re.findall(r"`((?:tests/|test_)[^`]+)`", row):
            if word.startswith("tests/"):
                place, _, function = word.partition("::")
            else:
                function = word
            found.append((place, function))
    return found


def test_every_test_that_the_page_names_exists() -> None:
    named = named_tests()
    assert len(named) > 20
    for place, function in named:
        path = ROOT / place
        assert path.exists(), place
        if function:
            assert f"def {function}(" in path.read_text(), f"{place}::{function}"


def test_every_promise_names_a_test() -> None:
    promises = [row for row in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]", row)]
    assert len(promises) > 15
    assert [row for row in promises if "`tests/" not in row] == []

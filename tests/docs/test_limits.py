"""The settings and tests that docs/limits.md names must exist."""

import re
from pathlib import Path

from chat_server.settings.load import flag
from chat_server.settings.table import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = 0
    for row in PAGE.splitlines():
        place = ""
        for word in re.findall(r"`((?:tests/|test_)[^`]+)`", row):
            if word.startswith("tests/"):
                place, _, function = word.partition("::")
            else:
                function = word
            assert (ROOT / place).exists(), place
            if function:
                assert f"def {function}(" in (ROOT / place).read_text(), f"{place}::{function}"
            named += 1
    assert named > 30


def test_every_setting_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--help"}
    assert named <= {flag(name) for name in SETTINGS}
    assert {flag(name) for name in SETTINGS if name.startswith(("rate_", "max_"))} <= named


def test_every_limit_names_a_test() -> None:
    limits = [row for row in PAGE.splitlines() if re.match(r"\| (?!attack|--)[a-zA-Z]", row)]
    assert len(limits) > 25
    assert [row for row in limits if "`tests/" not in row] == []

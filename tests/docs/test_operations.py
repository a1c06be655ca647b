"""docs/operations.md matches the vocabulary, metrics, settings and files."""

import re
from pathlib import Path

import pytest

from chat_ops.reports import REPORTS
from chat_server.observability.metrics.table import METRICS
from chat_server.settings.load import flag
from chat_server.settings.table import SETTINGS
from chat_server.vocabulary import FIELDS, LogEvent
from support.log_files.operations_page import OPERATIONS_PAGE, with_tables

ROOT = Path(__file__).parents[2]
TEXT = OPERATIONS_PAGE.read_text()
WRITTEN = re.sub(r"<!-- (\w+): made by .*?<!-- end of \1 -->", "", TEXT, flags=re.DOTALL)
OTHER_TOOLS = {"--now", "--upgrade"}


def test_the_tables_are_those_of_the_code() -> None:
    assert with_tables(TEXT) == TEXT, (
        "update them with PYTHONPATH=tests python -m support.log_files.operations_page"
    )


def test_a_change_is_noticed() -> None:
    assert with_tables(TEXT.replace("Messages committed.", "Messages lost.")) == TEXT
    with pytest.raises(ValueError, match="no place for events"):
        with_tables(TEXT.replace("<!-- end of events -->", ""))


def test_every_metric_and_field_that_is_named_exists() -> None:
    metrics = {row.name for row in METRICS}
    for word in re.findall(r"`((?:greenroom|process)_\w+)`", WRITTEN):
        assert word in metrics or word == "greenroom_log", word
    for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", WRITTEN):
        assert word in {*metrics, *FIELDS, *LogEvent} or word == "greenroom_log", word


def test_every_setting_that_is_named_exists() -> None:
    known = {flag(name) for name in SETTINGS} | OTHER_TOOLS | {"--help", "--check", "--config"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", WRITTEN)) <= known


def test_every_file_that_is_named_exists() -> None:
    for word in re.findall(r"(?:ops/deploy|tests)/[\w./-]+", WRITTEN):
        assert (ROOT / word.rstrip(".")).exists(), word
    for link in re.findall(r"\]\(([\w./]+)\)", WRITTEN):
        assert (OPERATIONS_PAGE.parent / link).exists(), link
    shipped = {path.name for path in (ROOT / "ops" / "deploy").iterdir()}
    assert {name for name in shipped if name not in WRITTEN} == {"prometheus-alerts.test.yml"}


def test_every_report_that_is_named_exists() -> None:
    named = set(re.findall(r"chat-logs ([a-z]+)", WRITTEN))
    assert len(named) > 4
    assert named <= set(REPORTS)

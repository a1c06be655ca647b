"""A run's directory has the files and the names in them that it had at commit 8f3b51b, and later ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from goldens import old_run


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was made just now."""
    return old_run.run(tmp_path_factory.mktemp("run"))


def keys(value: Any, path: str = "") -> set[str]:
    """Return the path of each key; those of counts and metrics depend on what occurred in a run."""
    if isinstance(value, list):
        return {found for one in value for found in keys(one, f"{path}[]")}
    if not isinstance(value, dict) or path.endswith((".counts", ".metrics", ".histograms")):
        return set()
    return {f"{path}.{key}" for key in value} | {
        found for key, one in value.items() for found in keys(one, f"{path}.{key}")
    }


LATER_KEYS = {
    *(
        ".audit.uncompared",
        ".options.server_log",
        ".server_log",
        ".slowest",
        ".slowest.us",
        ".slowest.bot",
        ".slowest.room",
    ),
    ".slowest.seq",
}
LATER_COLUMNS = "slowest_us,slowest_bot,slowest_room,slowest_seq,standstill_us,altered,stray"
"""At the end, so that a column's place is what it was."""


@pytest.mark.timeout(300)
def test_the_summary_has_the_same_keys(new: Path) -> None:
    old_keys, new_keys = (
        keys(json.loads((path / "summary.json").read_text())) for path in (old_run.DATA, new)
    )
    marked = {key for key in new_keys if key.startswith(".generator.marked.")}  # on a loaded machine
    assert new_keys - marked == old_keys | LATER_KEYS


def test_the_timeline_has_the_same_columns(new: Path) -> None:
    old_head, new_head = (
        (path / "timeline.csv").read_text().split("\n", 1)[0] for path in (old_run.DATA, new)
    )
    assert new_head == f"{old_head},{LATER_COLUMNS}"


def test_the_histograms_have_the_same_names(new: Path) -> None:
    old_names, new_names = (
        {
            (metric, scope)
            for metric, scopes in json.loads((path / "histograms.json").read_text()).items()
            for scope in scopes
        }
        for path in (old_run.DATA, new)
    )
    # A loaded machine adds kinds of samples that the old run had none of: reads without a timestamp.
    assert new_names >= old_names


def test_the_files_are_the_same(new: Path) -> None:
    names = {path.name for path in new.iterdir()}
    assert names >= {*old_run.FILES, "report.html", "delivery.hgrm", "ack.hgrm"}

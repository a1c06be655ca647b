"""The page of `chat-logs report` in a real browser: plots, filters, and no network requests."""

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.log_files.real_log import write_real_log
from support.processes.browser import Browser, run_browser
from support.processes.process import BIN_DIR, clean_environment

EVIL = "<img src=x onerror=\"document.title='owned'\">"
TURNED = "\u202emallory\x1b[2J"
LATER = timedelta(hours=1)
MEASURED = "document.getElementById('plot-curves').data[0].x.at(-1)"
"""Number of durations of the first percentile curve: its end is one in so many."""


def two_nodes(folder: Path) -> Path:
    """Write a real log, and a copy an hour later with another node and other users."""
    lines = write_real_log(folder).read_text().splitlines()
    copies = []
    for line in lines:
        entry: dict[str, Any] = json.loads(line)
        entry["node"] = "west-2"
        at = datetime.fromisoformat(entry["ts"]) + LATER
        entry["ts"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if "session_id" in entry:
            entry["session_id"] = "w" + entry["session_id"]
        if "username" in entry:
            entry["username"] = {"bob": EVIL, "cid": TURNED}.get(entry["username"].partition("-")[0], "wes")
        for room in [*entry.get("rooms", []), entry]:
            if "room" in room:
                room["room"] = f"</script><script>document.title='owned'</script>{room['room']}"
        copies.append(json.dumps(entry))
    path = folder / "both.log"
    path.write_text("\n".join([*lines, *copies, "no line <i>at all</i>"]) + "\n")
    return path


def written(log: Path, *options: str) -> Path:
    page = log.with_name(f"page{len(options)}.html")
    command = [str(BIN_DIR / "chat-logs"), "report", *options, "--html", str(page), str(log)]
    done = subprocess.run(
        command, env=clean_environment(log.parent), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return page


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_nodes(tmp_path_factory.mktemp("logs-page"))


@pytest.fixture(scope="module")
def page(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with run_browser(tmp_path_factory.mktemp("profile")) as shown:
        shown.open(written(log))
        shown.wait_for("document.documentElement?.dataset.drawn")
        yield shown
        # The page made no network request and ran nothing from the log.
        assert shown.requested_urls, "the page itself is asked for"
        assert {url.partition(":")[0] for url in shown.requested_urls} <= {"file", "data", "blob"}
        assert shown.console_errors == []
        assert shown.evaluate("document.title").startswith("Greenroom log")
        assert shown.evaluate("document.images.length") == 0


def fill(page: Browser, **fields: str) -> None:
    """Fill in the filter's fields with events as a user does; clear the others."""
    before = page.evaluate("Number(document.documentElement.dataset.shown || 0)")
    page.evaluate("document.getElementById('filter-reset').click()")
    page.wait_for(f"Number(document.documentElement.dataset.shown || 0) > {before}")
    for name, value in fields.items():
        before = page.evaluate("Number(document.documentElement.dataset.shown)")
        field = f"document.getElementById('filter-{name}')"
        page.evaluate(
            f"{field}.value = {json.dumps(value)}; for (const kind of ['input', 'change'])"
            f" {field}.dispatchEvent(new Event(kind, {{ bubbles: true }}))"
        )
        page.wait_for(f"Number(document.documentElement.dataset.shown) > {before}")


def column(page: Browser, table: str, title: str) -> list[str]:
    """Return the texts of a table's column."""
    rows: list[str] = page.evaluate(
        f"(() => {{ const card = document.getElementById({json.dumps(table)});"
        " const at = [...card.querySelectorAll('th')].findIndex("
        f"(one) => one.textContent === {json.dumps(title)});"
        " return [...card.querySelectorAll('tbody tr')].map((row) => row.children[at].textContent); })()"
    )
    return rows


def tile(page: Browser, name: str) -> str:
    text: str = page.evaluate(f"document.querySelector('#tile-{name} b').textContent")
    return text


def points(page: Browser, plot: str) -> int:
    """Return the number of points of a plot, over all its lines."""
    number: int = page.evaluate(
        f"document.getElementById('plot-{plot}').data.reduce((sum, one) => sum + one.x.length, 0)"
    )
    return number


def test_all_plots_are_drawn(page: Browser) -> None:
    marks = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.plot')].map((one) => [one.id,"
        " [...one.querySelectorAll('path.js-line, .points path')].filter((path) =>"
        " (path.getAttribute('d') || '').length > 4).length]))"
    )
    assert {"plot-traffic", "plot-sessions", "plot-commit_to_sent", "plot-rtt", "plot-curves"} <= set(marks)
    assert {"plot-errors", "plot-ended", "plot-loop", "plot-memory", "plot-disk"} <= set(marks)
    assert all(marks.values()), marks
    assert page.evaluate("Number(document.documentElement.dataset.drawn)") == len(marks)


def test_names_are_text(page: Browser) -> None:
    fill(page)
    users = column(page, "users-users", "user")
    assert EVIL in users
    assert "\\u202emallory\\x1b[2J" in users
    assert any("<script>" in room for room in column(page, "rooms-rooms", "room"))
    assert column(page, "bad_lines", "begins with") == ["no line <i>at all</i>"]


def test_the_filter_by_node(page: Browser) -> None:
    # Given the values of both nodes, which are equal
    fill(page)
    both, every = int(tile(page, "messages")), points(page, "traffic")
    assert set(column(page, "sessions-sessions", "node")) == {"east-1", "west-2"}
    # When one is chosen, then half of the messages remain
    fill(page, node="west-2")
    assert int(tile(page, "messages")) * 2 == both
    assert points(page, "traffic") < every
    assert set(column(page, "sessions-sessions", "node")) == {"west-2"}
    # And everything is shown again without a filter
    fill(page)
    assert (int(tile(page, "messages")), points(page, "traffic")) == (both, every)


def test_the_filter_by_text(page: Browser) -> None:
    fill(page, user="ONERROR")
    assert set(column(page, "users-users", "user")) == {EVIL}
    assert set(column(page, "sessions-sessions", "user")) == {EVIL}
    assert tile(page, "opened") == "1"
    fill(page, room="script")
    rooms = column(page, "rooms-rooms", "room")
    assert rooms
    assert all("script" in room for room in rooms)
    fill(page, room="no such room")
    assert column(page, "rooms-rooms", "room") == []
    assert tile(page, "messages") == "0"


def is_bob_there(page: Browser) -> bool:
    """Return whether the first node's bob (with a number) is among the users."""
    return any(str(name).startswith("bob-") for name in column(page, "users-users", "user"))


def test_the_filter_by_time(page: Browser, log: Path) -> None:
    fill(page)
    both, measured = int(tile(page, "messages")), page.evaluate(MEASURED)
    assert is_bob_there(page)
    first = datetime.fromisoformat(json.loads(log.read_text().splitlines()[0])["ts"])
    middle = (first + LATER / 2).strftime("%Y-%m-%dT%H:%M:%S")
    # When the second node's period is chosen, then only its users are shown
    fill(page, **{"from": middle})
    assert int(tile(page, "messages")) * 2 == both
    assert not is_bob_there(page)
    assert EVIL in column(page, "users-users", "user")
    assert page.evaluate(MEASURED) * 2 == measured
    # When the first half of a plot is selected, then only the first node's users are shown
    fill(page)
    page.drag("#plot-loop .nsewdrag", 0.5, -0.02)
    page.wait_for("document.getElementById('filter-to').value")
    page.wait_for("document.getElementById('filter').classList.contains('active')")
    assert int(tile(page, "messages")) * 2 == both
    assert EVIL not in column(page, "users-users", "user")
    assert is_bob_there(page)


def test_an_anonymous_page_names_nobody(log: Path) -> None:
    text = written(log, "--anonymize").read_text()
    content = text[text.index('id="data"') :] + text[: text.index("<script")]
    for word in ("bob", "Ann", "mallory", "onerror", "east-1", "west-2", "127.0.0.1", str(log)):
        assert word not in content, word
    assert "user-" in content

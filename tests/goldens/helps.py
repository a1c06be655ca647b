"""What `--help` of each command says: options apart from sentences, alike on every Python.

argparse lays its pages out differently from version to version, so a page is taken apart: `structure` keeps
option strings, metavars, choices, defaults and environment variables, `sentences` keeps the prose.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment

ROOT = Path(__file__).parents[2]
COMMANDS = ("chat-server", "chat-client", "chat-logs", "chat-swarm")
SWARM = ("locust", "-f", str(ROOT / "loadtest" / "bots.py"), "--swarm-help")
"""The swarm's own options, in a section of Locust's page."""

_HEAD = re.compile(r"^(\S.*):\n(?= )", re.MULTILINE)
_ENTRY = re.compile(r"^( {2,4})(\S+(?: \S+)*)(?: {2,}(\S.*))?$")
_DEFAULT = re.compile(r".*(?:\bdefault:? ([^;\])]+)|\((\d+\w*)\)$)")
"""`default 5`, `(default: 5)`, or `(5)` at the end of the sentence."""
_VARIABLE = re.compile(r"CHAT_[A-Z_]+")
_AGAIN = "read again on SIGHUP"


class Entry(NamedTuple):
    """An option, an argument or a sub-command, and its help."""

    name: str
    text: str

    def structure(self) -> str:
        default = _DEFAULT.match(self.text)
        notes = [f"default {default[1] or default[2]}"] if default else []
        notes += _VARIABLE.findall(self.text)
        notes += [_AGAIN] if _AGAIN in self.text else []
        return self.canonical() + (f"  [{'; '.join(notes)}]" if notes else "")

    def canonical(self) -> str:
        """Return flags and metavar: `-n N, --number N` before Python 3.13, `-n, --number N` since."""
        if not self.name.startswith("-"):
            return self.name
        flags, metavar = [], ""
        for part in self.name.split(", "):
            flag, _, metavar = part.partition(" ")
            flags.append(flag)
        return " ".join([", ".join(flags), metavar]).strip()


class Page(NamedTuple):
    """A page of help."""

    usage: str
    prose: list[str]
    sections: dict[str, list[Entry]]

    def structure(self) -> str:
        lines = [f"usage: {self.usage}"] if self.usage else []
        lines += [entry.structure() for entries in self.sections.values() for entry in entries]
        return "\n".join(lines)

    def sentences(self) -> str:
        lines = [line for paragraph in self.prose for line in paragraph.splitlines()]
        for title, entries in self.sections.items():
            lines += [title, *(f"{entry.canonical()}: {entry.text}" for entry in entries if entry.text)]
        return "\n".join(lines)


def read(text: str) -> Page:
    """Take a page apart that was written for a very wide terminal."""
    usage, _, rest = text.partition("\n\n")
    prose: list[str] = []
    sections: dict[str, list[Entry]] = {}
    for paragraph in rest.split("\n\n"):
        head = _HEAD.match(paragraph)
        if head is None:
            prose.append(paragraph.rstrip())
        else:
            sections[head[1]] = list(_entries(paragraph[head.end() :]))
    return Page(usage.partition(":")[2].strip(), prose, sections)


def _entries(text: str) -> Iterator[Entry]:
    name, said = "", list[str]()
    for line in text.splitlines():
        found = _ENTRY.match(line)
        if found is None:
            said.append(line.strip())
            continue
        if name:
            yield Entry(name, " ".join(said))
        name, said = found[2], [found[3]] if found[3] else []
    yield Entry(name, " ".join(said))


def _below(command: str, page: Page) -> list[tuple[str, ...]]:
    """Return the sub-commands: what a section lists that is neither option nor argument nor exit code."""
    return [
        (command, entry.name)
        for entries in page.sections.values()
        for entry in entries
        if re.fullmatch(r"[a-z]+", entry.name)
    ]


def _ask(folder: Path, command: Sequence[str]) -> Page:
    name, *arguments = command
    flags = [] if command == SWARM else ["--help"]
    done = subprocess.run(
        [BIN_DIR / name, *arguments, *flags],
        env=clean_environment(folder) | {"COLUMNS": "9999", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * 3,
        check=True,
    )
    text = done.stdout.replace(str(folder), "~")
    if command == SWARM:  # the group has a description between its title and its options
        about, options = text.partition("\nswarm:\n")[2].split("\n\n")[:2]
        return Page("", [about.strip()], {"swarm": list(_entries(options))})
    return read(text)


@cache
def pages(folder: Path) -> dict[str, Page]:
    """Return the page of each command and sub-command, by the words of the command."""
    with ThreadPoolExecutor(4) as pool:
        swarm = pool.submit(_ask, folder, SWARM)
        above: list[tuple[str, ...]] = [(name,) for name in COMMANDS]
        found = dict(zip(above, pool.map(lambda words: _ask(folder, words), above), strict=True))
        below = [words for (name, *_), page in found.items() for words in _below(name, page)]
        found |= dict(zip(below, pool.map(lambda words: _ask(folder, words), below), strict=True))
    named = {" ".join(words): found[words] for words in sorted(found)}
    return named | {"locust -f loadtest/bots.py": swarm.result()}


def options(folder: Path) -> str:
    """Return what scripts rely on: option strings, metavars, choices, defaults, variables."""
    return "\n\n".join(f"== {name}\n{page.structure()}" for name, page in pages(folder).items())


def sentences(folder: Path) -> str:
    """Return what people read."""
    return "\n\n".join(f"== {name}\n{page.sentences()}" for name, page in pages(folder).items())

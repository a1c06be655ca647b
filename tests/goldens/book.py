"""All goldens by the name of their file, how each is made, and how all are written again.

They hold what a user can see of the program, and import nothing of it but the log's vocabulary: what is
behind may change, they may not. What changes on purpose is reviewed as a change of these files.
"""

from collections.abc import Callable
from pathlib import Path

from goldens import exits, helps, lists, plays, reports

DATA = Path(__file__).with_name("data")
PAGES: dict[str, Callable[[Path], str]] = {
    "options.txt": helps.options,
    "options-sentences.txt": helps.sentences,
    "exit-codes.txt": exits.codes,
    "exit-sentences.txt": exits.sentences,
    "vocabulary.txt": lists.vocabulary,
    "log-lines.txt": lists.log_lines,
    "metrics.txt": lists.metrics,
    "chat-logs.txt": reports.logs,
    "chat-swarm.txt": reports.swarm,
}
"""Each is made in a folder that it may write to, and may find there what another one made."""
PLAYS = ("ndjson.play", "people.play")
SENTENCES = "play-sentences.txt"
"""What the server says for people in all plays."""


def read(name: str) -> str:
    """Return a golden without its last newline."""
    return (DATA / name).read_text().rstrip("\n")


def write(name: str, text: str) -> None:
    (DATA / name).write_text(f"{text}\n")


def scenes() -> list[plays.Scene]:
    """Return the scenes of all plays."""
    return [scene for name in PLAYS for scene in plays.scenes(read(name))]


def sentences() -> dict[str, str]:
    """Return the sentences of each scene that has some."""
    found = {}
    for part in f"\n\n{read(SENTENCES)}".split("\n\n== ")[1:]:
        name, _, said = part.partition("\n")
        found[name] = said
    return found

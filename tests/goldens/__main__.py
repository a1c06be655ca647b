"""The command `python -m goldens`: write goldens as the program is now, to look at with `git diff`."""

import argparse
import tempfile
from pathlib import Path

from goldens import book, old_data, old_run, plays

OLD = {"old-data": old_data.make, "old-run": old_run.make}
"""What only the version that they are named for may write."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m goldens", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join([*book.PAGES, *book.PLAYS])} (all of them); or {' or '.join(OLD)}",
    )
    names: list[str] = parser.parse_args().names or [*book.PAGES, *book.PLAYS]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if name in OLD:
                OLD[name](Path(folder))
            elif name in book.PAGES:
                book.write(name, book.PAGES[name](Path(folder)))
            else:
                _perform(name)


def _perform(name: str) -> None:
    said = book.sentences()
    outcomes = []
    for scene in plays.scenes(book.read(name)):
        with tempfile.TemporaryDirectory() as folder:
            outcome = plays.perform(scene, Path(folder), writing=True)
        outcomes.append(outcome.text)
        said[scene.name] = outcome.sentences
    book.write(name, "\n\n".join(outcomes))
    known = [scene.name for scene in book.scenes()]
    parts = [f"== {scene}\n{said[scene]}" for scene in known if said.get(scene)]
    book.write(book.SENTENCES, "\n\n".join(parts))


if __name__ == "__main__":
    main()

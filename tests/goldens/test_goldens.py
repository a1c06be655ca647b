"""What a user can see is as it was; `PYTHONPATH=tests python -m goldens` writes it as it is now."""

from pathlib import Path

import pytest

from goldens import book, helps, plays

TIMEOUT_S = 600
"""Several dozen programs are started, on however busy a machine."""
SCENES = {scene.name: scene for scene in book.scenes()}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all pages, so that two of them may be made from one run."""
    return tmp_path_factory.mktemp("goldens")


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("name", book.PAGES)
def test_a_page_is_as_it_was(name: str, folder: Path) -> None:
    assert book.PAGES[name](folder) == book.read(name)


@pytest.fixture(scope="session")
def performed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, plays.Outcome]:
    """Every scene, once it was asked for."""

    class Performed(dict[str, plays.Outcome]):
        def __missing__(self, name: str) -> plays.Outcome:
            self[name] = plays.perform(SCENES[name], tmp_path_factory.mktemp("scene"))
            return self[name]

    return Performed()


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("name", SCENES)
def test_the_same_frames_come(name: str, performed: dict[str, plays.Outcome]) -> None:
    scene = SCENES[name]
    assert performed[name].text.split("\n")[1:] == scene.lines


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("name", SCENES)
def test_the_same_sentences_are_said(name: str, performed: dict[str, plays.Outcome]) -> None:
    assert performed[name].sentences == book.sentences().get(name, "")


def test_all_codes_and_reasons_are_in_the_plays_but_those_that_cannot_be_had() -> None:
    text = "\n".join(map(book.read, book.PLAYS))
    labels = book.read("metrics.txt")

    def missing(family: str, label: str) -> set[str]:
        words = [
            line.split('"')[1] for line in labels.splitlines() if line.startswith(f"  {family} {label}=")
        ]
        return {word for word in words if f'"{"code" if label == "code" else "reason"}":"{word}"' not in text}

    assert missing("greenroom_errors_total", "code") == {"internal", "other"}
    assert missing("greenroom_sessions_closed_total", "reason") == {
        *("stalled", "kicked"),  # two minutes of silence; the person at the server
        *("closed_by_peer", "reset", "bad_frame", "internal", "other"),  # nobody is there to read a `bye`
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("-c N, --count N", "-c, --count N"),  # before Python 3.13
        ("-c, --count N", "-c, --count N"),
        ("--console, --no-console", "--console, --no-console"),
        ("-h, --help", "-h, --help"),
        ("--by {a,b}", "--by {a,b}"),
        ("FILE", "FILE"),
    ],
)
def test_options_are_shown_alike_on_every_python(name: str, shown: str) -> None:
    assert helps.Entry(name, "").structure() == shown


def test_defaults_and_variables_are_found_in_the_sentences() -> None:
    entry = helps.Entry(
        "--port N", "the one port [TCP port; 0: any; default 7072; CHAT_PORT; read again on SIGHUP]"
    )
    assert entry.structure() == "--port N  [default 7072; CHAT_PORT; read again on SIGHUP]"
    assert helps.Entry("--top N", "how many (10)").structure() == "--top N  [default 10]"
    assert helps.Entry("--room ROOM", "which (default: lobby)").structure() == "--room ROOM  [default lobby]"

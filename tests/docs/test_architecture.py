"""docs/architecture.md and docs/glossary.md name files that exist, and the tree is as they say."""

import ast
import re
from pathlib import Path

import grimp
import pytest

from support import words
from support.pages import picture

ROOT = Path(__file__).parents[2]
SOURCES = ("server", "client", "loadtest", "ops")
OWN = {path.parent.name for source in SOURCES for path in (ROOT / source).glob("*/__init__.py")}
ROOTS = (
    *SOURCES,
    *("server/chat_server", "server/chat_server/core", "server/chat_protocol"),
    *("loadtest/chat_swarm", "ops/chat_ops", "tests", "."),
)
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("topics/*.md"), DOCS / "architecture.md", DOCS / "glossary.md"])
FOLDER_MODULES = 15
FILE_LINES = 400
GLOSSARY_TERMS = range(25, 41)


def modules() -> list[Path]:
    return [path for source in (*SOURCES, "tests") for path in (ROOT / source).rglob("*.py")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_only_files_that_exist(page: Path) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|toml)|(?:\w+/)+)`", page.read_text(encoding="utf-8"))
    missing = [path for path in named if not any((ROOT / root / path).exists() for root in ROOTS)]
    assert not missing


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_path_of_a_message_names_functions_of_the_named_files() -> None:
    path = (
        (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## The path")[2].partition("## ")[0]
    )
    steps = re.findall(r"^\| [^|]+ \| `([\w/]+\.py)`: ([^|]+) \|", path, re.MULTILINE)
    assert len(steps) == path.count("\n| ") - 1
    for name, cell in steps:
        first = ROOT / "server" / name
        siblings = [first.with_name(other) for other in re.findall(r"`(\w+\.py)`", cell)]
        functions = set(re.findall(r"`(\w+)`", cell))
        for file in (first, *siblings):
            assert functions <= functions_of(file), f"{file}: {functions - functions_of(file)}"


def test_pictures_are_made_from_the_code() -> None:
    page = picture.PAGE.read_text(encoding="utf-8")
    assert page == picture.drawn(page), "run PYTHONPATH=tests python -m support.pages.picture"


def test_glossary_has_one_row_for_each_of_its_terms() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| \*\*([^*]+)\*\*", page, re.MULTILINE)
    assert len(terms) in GLOSSARY_TERMS
    assert len(terms) == len(set(terms))


def test_no_folder_holds_more_modules_than_a_reader_takes_in() -> None:
    counts: dict[Path, int] = {}
    for path in modules():
        counts[path.parent] = counts.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > FOLDER_MODULES} == {}


def test_no_file_is_longer_than_a_reader_takes_in() -> None:
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_each_package_says_what_it_holds_what_it_imports_and_what_to_open_first() -> None:
    for source in SOURCES:
        for face in (ROOT / source).rglob("__init__.py"):
            text = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
            assert re.search(r"\bimports?\b", text, re.IGNORECASE), face
            assert re.search(r"[Oo]pen `[\w/]+\.(py|c)` first", text), face


def names_of(module: str, package: str) -> set[str]:
    """Return the ways in which the face of `package` may name `module`, or a package that holds it."""
    root, *inner = module.split(".")
    own = root == package.partition(".")[0]
    paths = ["/".join(inner[:end]) for end in range(1, len(inner) + 1)]
    return {*paths} if own else {root, *(f"{root}.{path}" for path in paths)}


def test_each_package_names_all_that_it_imports() -> None:
    graph = grimp.build_graph(*OWN, cache_dir=None)  # with the imports for type checking only
    unnamed: list[str] = []
    for source in SOURCES:
        for face in (ROOT / source).rglob("__init__.py"):
            package = ".".join(face.parent.relative_to(ROOT / source).parts)
            text = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
            named = {name.removesuffix(".py") for name in re.findall(r"`([\w./]+)`", text)}
            for importer in {package} | graph.find_descendants(package):
                for module in graph.find_modules_directly_imported_by(importer):
                    related = f"{module}.".startswith(f"{package}.") or f"{package}.".startswith(f"{module}.")
                    if not related and not named & names_of(module, package):
                        unnamed.append(f"{package}: {module}, by {importer}")
    assert not unnamed, "\n".join(unnamed)


def test_words_that_this_project_does_not_use_are_used_nowhere() -> None:
    found = [str(one) for path in words.files() for one in words.find(path)]
    assert not found, "\n".join(found)

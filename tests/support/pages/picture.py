"""Draws the packages and their imports into docs/architecture.md, from the code.

`PYTHONPATH=tests python -m support.pages.picture` puts the pictures, in Mermaid's notation, between their
markers; tests/docs/test_architecture.py checks that they are up to date.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import grimp

PAGE: Final = Path(__file__).parents[3] / "docs" / "architecture.md"
PACKAGES: Final = ("chat_protocol", "chat_server", "chat_client", "chat_swarm", "chat_ops")
LEFT_OUT: Final = frozenset({"chat_server.__main__", "chat_server.vocabulary"})
"""The entry point, and the names of log events, which several packages read: arrows without meaning."""

Arrows = frozenset[tuple[str, str]]


def blocks() -> Mapping[str, str]:
    """Return each picture by the name of its markers."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    return {
        "packages": _mermaid(_arrows(graph, PACKAGES)),
        "server": _mermaid(_arrows(graph, _rooms(graph))),
    }


def drawn(page: str) -> str:
    """Return the page with each picture between its markers. Raises `ValueError` if a marker is missing."""
    for name, block in blocks().items():
        begin, end = f"<!-- picture: {name} -->\n", "<!-- end of picture -->"
        at = page.index(begin) + len(begin)
        page = page[:at] + block + page[page.index(end, at) :]
    return page


def _rooms(graph: grimp.ImportGraph) -> list[str]:
    """Return the server's packages, with the core's own packages in place of the core."""
    rooms = graph.find_children("chat_server") | graph.find_children("chat_server.core")
    return sorted(rooms - {"chat_server.core"} - LEFT_OUT)


def _arrows(graph: grimp.ImportGraph, rooms: Iterable[str]) -> Arrows:
    """Return which room imports which, without arrows that a path over other rooms implies.

    Imports that only types need (`TYPE_CHECKING`) go against the layers here and there; they are left out.
    """
    rooms = list(rooms)
    direct = {
        (one, other) for one in rooms for other in rooms if one != other and _imports(graph, one, other)
    }
    return frozenset(pair for pair in direct if not _path_around(pair, direct))


def _imports(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    inside = {imported} | graph.find_descendants(imported)
    importers = {importer} | graph.find_descendants(importer)
    return any(graph.find_modules_directly_imported_by(module) & inside for module in importers)


def _path_around(pair: tuple[str, str], arrows: set[tuple[str, str]]) -> bool:
    """Return whether the target can be reached without the arrow itself."""
    start, target = pair
    seen, waiting = {start}, [start]
    while waiting:
        at = waiting.pop()
        for one, other in arrows:
            if one == at and (one, other) != pair and other not in seen:
                if other == target:
                    return True
                seen.add(other)
                waiting.append(other)
    return False


def _mermaid(arrows: Arrows) -> str:
    """Return a flow chart: each arrow points from what imports to what is imported."""
    rooms = sorted({room for arrow in arrows for room in arrow})
    core = [room for room in rooms if room.startswith("chat_server.core.")]
    lines = [f"    {_node(room)}" for room in rooms if room not in core]
    if core:
        lines += ["    subgraph core", *(f"        {_node(room)}" for room in core), "    end"]
    lines += [f"    {_id(one)} --> {_id(other)}" for one, other in sorted(arrows)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def _id(room: str) -> str:
    return room.removeprefix("chat_server.").replace(".", "_")


def _node(room: str) -> str:
    return f'{_id(room)}["{room.removeprefix("chat_server.").removeprefix("core.")}"]'


def main() -> None:
    """Write the page."""
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

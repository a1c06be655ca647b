"""Draws the packages and their imports into docs/architecture.md, from the code.

`PYTHONPATH=tests python -m support.pages.picture` puts the pictures, in Mermaid's notation, between their
markers; tests/docs/test_architecture.py checks that they are up to date.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import grimp

PAGE: Final = Path(__file__).parents[3] / "docs" / "architecture.md"
PACKAGES: Final = ("chat_cli", "chat_protocol", "chat_server", "chat_client", "chat_swarm", "chat_ops")
LEFT_OUT: Final = frozenset({"chat_server.__main__", "chat_server.vocabulary"})
"""The entry point, and the names of log events, which several packages read: arrows without meaning."""

Arrows = frozenset[tuple[str, str]]


def blocks() -> Mapping[str, str]:
    """Return each picture by the name of its markers."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    with_types = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {
        "packages": _picture(graph, with_types, PACKAGES),
        "server": _picture(graph, with_types, _server_packages(graph)),
    }


def drawn(page: str) -> str:
    """Return the page with each picture between its markers. Raises `ValueError` if a marker is missing."""
    return filled(page, blocks())


def filled(page: str, named_blocks: Mapping[str, str]) -> str:
    """Return the page with each block between its markers. Raises `ValueError` if a marker is missing."""
    for name, block in named_blocks.items():
        begin, end = f"<!-- picture: {name} -->\n", "<!-- end of picture -->"
        at = page.index(begin) + len(begin)
        page = page[:at] + block + page[page.index(end, at) :]
    return page


def _server_packages(graph: grimp.ImportGraph) -> list[str]:
    """Return the server's packages, with the core's own packages in place of the core."""
    packages = graph.find_children("chat_server") | graph.find_children("chat_server.core")
    return sorted(packages - {"chat_server.core"} - LEFT_OUT)


def _picture(graph: grimp.ImportGraph, with_types: grimp.ImportGraph, packages: Collection[str]) -> str:
    """Return the flow chart of these packages, without arrows that a path over other packages implies.

    `with_types` has also the imports for type checking only. Few go against the layers; they are dashed.
    """
    solid = _arrows(graph, packages)
    dashed = _arrows(with_types, packages) - solid
    return _mermaid(
        frozenset(pair for pair in solid if not _path_around(pair, solid)),
        frozenset(pair for pair in dashed if not _path_around(pair, solid)),
    )


def _arrows(graph: grimp.ImportGraph, packages: Collection[str]) -> Arrows:
    """Return all pairs of packages of which one imports the other."""
    return frozenset(
        (one, other) for one in packages for other in packages if one != other and _imports(graph, one, other)
    )


def _imports(graph: grimp.ImportGraph, importer: str, imported: str) -> bool:
    inside = {imported} | graph.find_descendants(imported)
    importers = {importer} | graph.find_descendants(importer)
    return any(graph.find_modules_directly_imported_by(module) & inside for module in importers)


def _path_around(pair: tuple[str, str], arrows: Arrows) -> bool:
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


def _mermaid(solid: Arrows, dashed: Arrows) -> str:
    """Return a flow chart: each arrow points from what imports to what is imported."""
    packages = sorted({package for arrow in solid | dashed for package in arrow})
    core = [package for package in packages if package.startswith("chat_server.core.")]
    lines = [f"    {_node(package)}" for package in packages if package not in core]
    if core:
        lines += ["    subgraph core", *(f"        {_node(package)}" for package in core), "    end"]
    lines += [f"    {_id(one)} --> {_id(other)}" for one, other in sorted(solid)]
    lines += [f"    {_id(one)} -.-> {_id(other)}" for one, other in sorted(dashed)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def _id(package: str) -> str:
    return package.removeprefix("chat_server.").replace(".", "_")


def _node(package: str) -> str:
    return f'{_id(package)}["{package.removeprefix("chat_server.").removeprefix("core.")}"]'


def main() -> None:
    """Write the page."""
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Writes docs/api.md from the docstrings of `chat_client`, and the list of its public signatures.

`PYTHONPATH=tests python -m support.pages.api_page` writes both; tests/docs/test_api.py checks that they are
up to date. Signatures are taken from the source, so they read as written, whatever the version of Python.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import chat_client

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "api.md"
SIGNATURES: Final = ROOT / "tests" / "docs" / "api_signatures.txt"
LINE_CHARACTERS: Final = 100
SHOWN_SPECIAL_METHODS: Final = frozenset({"__iter__", "__enter__", "__exit__"})

HEAD: Final = """# The client library: `chat_client`

Made from the docstrings of `chat_client.__all__` by `PYTHONPATH=tests python -m support.pages.api_page`.
[client.md](client.md) shows how the parts are used together, [protocol.md](protocol.md) what the fields of
events mean. Events and commands are the Structs of `chat_protocol.events` and `chat_protocol.commands`.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Member(NamedTuple):
    """A public method, property or field of a class."""

    name: str
    signature: str
    doc: str


def page() -> str:
    """Return the text of docs/api.md."""
    parts = [HEAD]
    for name in chat_client.__all__:
        node = _source(name)
        parts.append(f"## `{name}`\n")
        parts.append(_entry(_signature(node), ast.get_docstring(node) or ""))
        if isinstance(node, ast.ClassDef):
            fields = [f"`{field.signature}`" for field in _fields(node)]
            if fields:
                parts.append("Fields: " + ", ".join(fields) + ".\n")
            for member in _members(node):
                parts.append(f"### `{name}.{member.name}`\n")
                parts.append(_entry(member.signature, member.doc))
    return "\n".join(parts).rstrip() + "\n"


def signatures() -> str:
    """Return a line for each public name, and for each public field, property and method of a class."""
    lines: list[str] = []
    for name in chat_client.__all__:
        node = _source(name)
        lines.append(_signature(node))
        if isinstance(node, ast.ClassDef):
            lines.extend(f"    {member.signature}" for member in (*_fields(node), *_members(node)))
    return "\n".join(lines) + "\n"


def undocumented() -> list[str]:
    """Return the public names, methods and properties that have no docstring, but for special methods."""
    missing: list[str] = []
    for name in chat_client.__all__:
        node = _source(name)
        if not ast.get_docstring(node):
            missing.append(name)
        if isinstance(node, ast.ClassDef):
            missing.extend(
                f"{name}.{member.name}"
                for member in _members(node)
                if not member.doc and member.name not in SHOWN_SPECIAL_METHODS
            )
    return missing


def _source(name: str) -> ast.ClassDef | Function:
    node = ast.parse(textwrap.dedent(inspect.getsource(getattr(chat_client, name)))).body[0]
    assert isinstance(node, ast.ClassDef | Function)
    return node


def _signature(node: ast.ClassDef | Function) -> str:
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                arguments = ast.unparse(inner.args).removeprefix("self").removeprefix(", ")
                return f"class {node.name}({arguments})"
        return f"class {node.name}({', '.join(map(ast.unparse, node.bases))})"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _fields(node: ast.ClassDef) -> Iterator[Member]:
    """Yield the annotated fields of a Struct or a NamedTuple."""
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and not ast.unparse(inner.target).startswith("_"):
            yield Member(ast.unparse(inner.target), ast.unparse(inner), "")


def _members(node: ast.ClassDef) -> Iterator[Member]:
    """Yield the public methods and properties that the class defines."""
    for inner in node.body:
        if not isinstance(inner, Function):
            continue
        if inner.name.startswith("_") and inner.name not in SHOWN_SPECIAL_METHODS:
            continue
        signature = _signature(inner)
        if any(ast.unparse(decorator) == "property" for decorator in inner.decorator_list):
            assert inner.returns is not None
            signature = f"{inner.name}: {ast.unparse(inner.returns)}"
        yield Member(inner.name, signature, ast.get_docstring(inner) or "")


def _entry(signature: str, doc: str) -> str:
    return f"```python\n{_wrapped(signature)}\n```\n" + (f"\n{doc}\n" if doc else "")


def _wrapped(signature: str) -> str:
    """Return the signature on one line, or with a line for each parameter if that is too long."""
    if len(signature) <= LINE_CHARACTERS:
        return signature
    head, _, rest = signature.partition("(")
    inside, _, tail = rest.rpartition(")")
    depth, parts = 0, [""]
    for char in inside:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return "\n".join([f"{head}(", *(f"    {part.strip()}," for part in parts), f"){tail}"])


def main() -> None:
    """Write both files."""
    PAGE.write_text(page(), encoding="utf-8")
    SIGNATURES.write_text(signatures(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n{SIGNATURES}\n")


if __name__ == "__main__":
    main()

"""Finds the metrics and labels of a PromQL expression; covers the part of the grammar that we use."""

import re
from typing import NamedTuple

KEYWORDS = frozenset(
    {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool"}
)
"""Names that are neither functions nor metrics."""


class PromSelector(NamedTuple):
    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""


class PromQuery(NamedTuple):
    selectors: tuple[PromSelector, ...]
    grouped: frozenset[str]
    """Labels in `by (…)` and the like."""


def parse_promql(expression: str) -> PromQuery:
    """Return the metrics and labels of an expression. Raises ValueError for unknown syntax."""
    grouped: set[str] = set()

    def group(match: re.Match[str]) -> str:
        grouped.update(label.strip() for label in match[2].split(",") if label.strip())
        return " "

    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", group, expression)
    selectors = []
    token = re.compile(
        r"""(?P<name>[a-zA-Z_:][\w:]*)\s*(?P<call>\()?(?P<braces>\{[^}]*\})?"""
        r"""|\[[^\]]*\]|[\d.]+(?:e\d+)?[smhdwy]?|[-+*/%^()<>=!,\s]+|"[^"]*\""""
    )
    place = 0
    while place < len(text):
        match = token.match(text, place)
        if match is None:
            raise ValueError(f"{text[place:]!r} in {expression!r}")
        place = match.end()
        name = match["name"]
        if name and not match["call"] and name not in KEYWORDS:
            selectors.append(PromSelector(name, _matchers(match["braces"] or "{}")))
    return PromQuery(tuple(selectors), frozenset(grouped))


def _matchers(braces: str) -> tuple[tuple[str, str, str], ...]:
    inner = braces[1:-1]
    found = re.findall(r"""\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)""", inner)
    left = re.sub(r"""\s*[a-zA-Z_]\w*\s*(=~|!~|!=|=)\s*"[^"]*"\s*(,|$)""", "", inner)
    if left.strip():
        raise ValueError(f"{left!r} in {braces!r}")
    return tuple(found)

"""Environment variables of a command: which are set, and which are ignored with a note.

Kubernetes (for each Service) and Docker (for each link) set variables that begin with the service's name:
those of a service named `chat` look like Greenroom's own. They are recognised and never taken for a setting.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

PREFIX: Final = "CHAT_"
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://\S*", re.IGNORECASE)
_LINK_NAME: Final = re.compile(
    r"\w*_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?|\w*_SERVICE_(HOST|PORT(_\w+)?)|\w*_ENV_\w+|\w*_PORT|\w*_NAME"
)
"""Names that Kubernetes ("Environment variables" of Services) and Docker ("Legacy container links") set."""
_NEAR: Final = 0.66
"""Least similarity (difflib's ratio) of a name to the one it may be a misspelling of."""


class Variables(NamedTuple):
    """The variables of a command."""

    values: dict[str, str]
    """Those that are set and not empty, by name."""
    notes: list[str]
    """Sentences for standard error about variables that look like one of the command's and are ignored."""


def read_variables(
    environ: Mapping[str, str], known: Collection[str], *, overridden: Collection[str] = ()
) -> Variables:
    """Return the variables that a command reads.

    - `known`: the names of all its variables, each with `PREFIX`.
    - `overridden`: those whose flag was given. They are not returned, and nothing is said about their values.

    A misspelt name is noted with the right one. Names that resemble none are of another program: no note.
    """
    values: dict[str, str] = {}
    notes: list[str] = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or not value:
            continue
        if name in known:
            if name in overridden:
                continue
            if name.endswith("_PORT") and _LINK_VALUE.fullmatch(value):
                service = name.removesuffix("_PORT").lower().replace("_", "-")
                notes.append(
                    f"{name}={value} is ignored: Kubernetes or Docker sets it for a service named {service};"
                    f" to choose a port, give the flag, or start the pod with enableServiceLinks: false"
                )
                continue
            values[name] = value
        elif not is_service_link(name, value) and (near := _nearest(name, known)):
            notes.append(f"{name} is ignored: there is no such variable; did you mean {near}?")
    return Variables(values, notes)


def is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes or Docker sets such a variable for a service or a linked container."""
    if not _LINK_NAME.fullmatch(name):
        return False
    if name.endswith("_NAME"):
        return value.startswith("/")  # Docker: /container/link
    if name.endswith("_PORT") and not name.endswith(
        ("_SERVICE_PORT", "_TCP_PORT", "_UDP_PORT", "_SCTP_PORT")
    ):
        return _LINK_VALUE.fullmatch(value) is not None
    return True


def _nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that `name` may be a misspelling of; empty if there is none."""
    words = {word.removeprefix(PREFIX): word for word in known}
    found = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1, cutoff=_NEAR)
    return words[found[0]] if found else ""

"""Checks that a command asks `may` for the action that its row in the router's table names, and no other."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from chat_protocol import commands
from chat_server.core.chat import hub
from chat_server.core.commands import messages, router
from chat_server.core.commands.router import TABLE
from chat_server.core.identity.permissions import Action, may

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chat_protocol.errors import Refused

ASKING: Final = (hub, messages, router)
"""The modules that import `may`."""

ALSO: Final[dict[type[commands.Command], set[Action]]] = {
    commands.Say: {Action.JOIN, Action.SEND},  # a hello, a rename, a join and a message in one
    commands.Hello: {Action.READ},  # one that resumes names the conversations that it has messages of
}
"""Commands that do several things, and what they may ask for besides."""


class AskedPermissions:
    """What each command has asked for, in all that has run on a stage."""

    def __init__(self, running: Callable[[], type | None]) -> None:
        self._running = running
        self._watched = False
        self.by_command: dict[type, set[Action]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the command that is executed meanwhile, and those that are executed while it waits."""
        if self._watched:
            yield
            return
        self._watched = True
        with ExitStack() as stack:
            for module in ASKING:
                stack.enter_context(patch.object(module, "may", self._may))
            stack.callback(setattr, self, "_watched", False)
            yield

    def _may(self, actor: Any, action: Action, room: Any = None, name: str = "") -> Refused | None:
        command = self._running()
        assert command is not None, "a permission is asked for, but no command is executed"
        self.by_command.setdefault(command, set()).add(action)
        allowed = {TABLE[command].needs, *ALSO.get(command, ())}
        assert action in allowed, f"{command.__name__} asks {action.name}"
        return may(actor, action, room, name)

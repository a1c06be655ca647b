"""The prompt of the console: its keys, and pastes that never end.

Imports prompt_toolkit, which takes a while: only a server with a console imports this module.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_session
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings

PASTE_TIMEOUT_S: Final = 1.0
"""Seconds without another byte after which a paste whose end mark is missing has ended."""
_PASTE_END: Final = "\x1b[201~"
_CTRL_C: Final = "\x03"


def new_prompt(text: Callable[[], str], on_ctrl_z: Callable[[], object]) -> "PromptSession[str]":
    """Return the prompt, for the current app session."""
    keys = KeyBindings()

    @keys.add("c-z")
    def _suspend(_event: object) -> None:
        on_ctrl_z()

    prompt: PromptSession[str] = PromptSession(text, erase_when_done=True, key_bindings=keys)
    terminal_input = get_app_session().input
    if isinstance(terminal_input, Vt100Input):
        terminal_input.vt100_parser = PasteParser(terminal_input, prompt)
    return prompt


class PasteParser(Vt100Parser):
    """Ends a bracketed paste also without its end mark: at Ctrl-C, and when nothing more comes.

    Else every key, Ctrl-C too, would be taken for a part of the paste.
    """

    def __init__(self, terminal_input: Vt100Input, prompt: "PromptSession[str]") -> None:
        super().__init__(terminal_input.vt100_parser.feed_key_callback)
        self._input = terminal_input
        self._prompt = prompt
        self._reads = 0

    def feed(self, data: str) -> None:
        """Parse what was read."""
        self._reads += 1
        super().feed(data)
        if self._in_bracketed_paste:
            if _CTRL_C in self._paste_buffer:
                super().feed(_PASTE_END + _CTRL_C)
            else:
                asyncio.get_running_loop().call_later(PASTE_TIMEOUT_S, self._end_stale_paste, self._reads)

    def _end_stale_paste(self, reads: int) -> None:
        if self._in_bracketed_paste and reads == self._reads:
            super().feed(_PASTE_END)
            keys = self._prompt.app.key_processor
            keys.feed_multiple(self._input.flush_keys())
            keys.process_keys()

"""A greenlet that reads a socket: it waits until the loop reports input, and for its turn (net/turns.py).

The read watcher stays started for as long as the greenlet keeps up. When it fires, it resumes the greenlet:
no object, and no system call, per wait.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from chat_server.net.address_limits import address_key
from chat_server.net.turns import TIME_SLICE_S

if TYPE_CHECKING:
    from chat_server.net.context import ConnectionContext
    from chat_server.net.event_loop import GreenletSwitch

EV_READ: Final = 1  # libev's EV_READ
BUSY: Final = 0  # runs, or waits for something else
FOR_INPUT: Final = 1
FOR_TURN: Final = 2


class ReadInterrupted(BaseException):
    """Thrown into a reader that waits for input or its turn, when another greenlet ends its connection."""


class Reader:
    """The waits of one greenlet. `_start_reading` is called in it, before the others."""

    __slots__ = ("_context", "_switch", "_waits", "_watcher", "host", "share", "turn_key")

    def __init__(self, descriptor: int, host: str, context: ConnectionContext) -> None:
        self.host = host
        self.turn_key = address_key(host)
        self.share = context.new_share(host)
        self._context = context
        self._watcher = context.loop.io(descriptor, EV_READ)
        self._waits = BUSY
        self._switch: GreenletSwitch

    def take_turn(self) -> None:
        """Go on, if this still waits for its turn. Called by the queue."""
        if self._waits == FOR_TURN:
            self._watcher.stop()  # also forgets that there was input
            self._waits = BUSY
            self._switch.resume()

    def _start_reading(self) -> None:
        self._switch = self._context.loop.new_switch()

    def _wait_input(self) -> None:
        """Wait until there is input, and it is the turn of this greenlet. Raises `ReadInterrupted`."""
        watcher = self._watcher
        if not watcher.active:
            watcher.start(self._on_readable)
        self._waits = FOR_INPUT
        self._switch.wait()

    def _wait_turn(self) -> None:
        """Wait until it is the turn of this greenlet. Raises `ReadInterrupted`."""
        self._waits = FOR_TURN
        self._context.turns.queue(self)
        self._switch.wait()

    def _wait_turn_again(self) -> None:
        """Wait for another turn after a wait for the core, if another connection of the address goes on.

        A commit ends the waits of all: a hundred sessions that enter their rooms at once are dear.
        """
        share = self.share
        if share is None:
            return
        if not share.is_used_up(self._context.loop.polls.iteration) and not share.waits_ended:
            share.waits_ended = 1
            return
        with contextlib.suppress(ReadInterrupted):  # the command goes on, and finds its session closed
            self._wait_turn()

    def _interrupt_wait(self) -> None:
        """End a wait, soon. Does not switch."""
        if self._waits != BUSY:
            self._waits = BUSY
            self._context.loop.run_callback(self._throw)

    def _throw(self) -> None:
        self._switch.throw(ReadInterrupted)

    def _on_readable(self) -> None:
        """Let the greenlet read, or queue for its turn. Called by the loop whenever there is input."""
        if self._waits != FOR_INPUT:  # the greenlet starts the watcher again when it wants to read
            self._watcher.stop()
            return
        context = self._context
        turns, polls, share = context.turns, context.loop.polls.iteration, self.share
        if polls != turns.round:  # `Turns.is_over`, inlined: this saves a call per read
            turns.round, turns.slice_ends_at = polls, context.clock.monotonic() + TIME_SLICE_S
        elif context.clock.monotonic() > turns.slice_ends_at:
            self._waits = FOR_TURN
            turns.queue(self)
            return
        if share is None:
            self._waits = BUSY
            self._switch.resume()
        elif share.is_used_up(polls):
            self._waits = FOR_TURN
            turns.queue(self)
        else:
            self._waits = BUSY
            share.run(self._switch.resume)

"""The fan-out: the same bytes for all members of a room, over several rounds of the loop if they are many.

A `send` costs about 5 µs, so a message to a thousand members at once would keep everybody else waiting for
5 ms. As soon as somebody waits, the bytes for the other members are put into their outboxes, which keeps
their order, and the outboxes wait in one queue: each once, and for one pass at most, however much is said in
its rooms.

MUST NOT block, switch greenlets, raise, or change the members of a room: a peer that is found stuck or gone,
or whose transport has a bug, is dealt with later, in a callback of the loop.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from chat_server.net.event_loop import EventLoop

SENDS_AT_ONCE: Final = 100
"""Sends to more than a few outboxes before the loop is asked whether anybody has input: half a millisecond.
If so, the bytes for the others are queued at once, which keeps their order, and sent in the next rounds."""

A_FEW: Final = 16
"""Outboxes to which the same bytes are always sent at once."""

SEND_BYTES_SHIFT: Final = 14
"""Each 16 KiB count as one more send."""


class FanOut:
    """Offers the same bytes to many outboxes. Those that are not sent to at once wait in one queue.

    Each waits in it once, for one pass at most: what else is offered to it meanwhile goes in the same send.
    `deferred`: how many fan-outs have put bytes there. `outbox_bytes`: the bound of each outbox.
    """

    def __init__(self, loop: EventLoop, outbox_bytes: int) -> None:
        self.deferred = 0
        self._loop = loop
        self._outbox_bytes = outbox_bytes
        self._round = -1  # the loop's, for which `_left` counts
        self._left = 0
        self._waiting: list[Any] = []
        self._ever_queued = 0  # outboxes that were ever put into `_waiting`
        self._marks: deque[tuple[int, Callable[[], None]]] = deque()  # by `_ever_queued`
        self._scheduled = False

    def offer(self, outboxes: Collection[Any], chunk: bytes) -> Sequence[Any]:
        """Offer `chunk` to every outbox; return those that did not accept it.

        The hot loop: one `send` a member, and nothing else for members that keep up.
        """
        size = len(chunk)
        refused: list[Any] | None = None
        at_once: Iterable[Any] = outboxes
        later: Iterable[Any] | None = None
        left = len(outboxes)
        if left > A_FEW and (count := self._sends_left(left, size)) < left:
            later = iter(outboxes)
            at_once = islice(later, count)
            left -= count
        while True:
            for outbox in at_once:
                try:
                    if outbox.queue is None:
                        try:
                            sent = outbox.send(chunk)
                        except BlockingIOError:
                            sent = 0
                        if sent != size:
                            outbox.enqueue(chunk[sent:])
                    elif not outbox.offer(chunk):
                        if refused is None:
                            refused = []
                        refused.append(outbox)
                except OSError:
                    outbox.discard()
                except Exception as error:  # noqa: BLE001  a recipient's bug must not stop the others
                    outbox.fail(error)
            if later is None:
                return refused or ()
            if self._waiting or not left or self._loop.has_input():
                break
            count = max(SENDS_AT_ONCE // (1 + (size >> SEND_BYTES_SHIFT)), 1)
            at_once = islice(later, count)
            left = max(left - count, 0)
        if left:
            return self._defer(later, chunk, refused or [])
        return refused or ()

    def when_sent(self, callback: Callable[[], None]) -> None:
        """Call `callback` once all that waits now has been sent to, as far as the peers read."""
        if self._waiting:
            self._marks.append((self._ever_queued, callback))
        else:
            callback()

    def _sends_left(self, count: int, size: int) -> int:
        """Return to how many of `count` outboxes so many bytes may be sent in this round."""
        if self._waiting:
            return 0
        polls = self._loop.polls.iteration
        if polls != self._round:
            self._round, self._left = polls, SENDS_AT_ONCE
        cost = 1 + (size >> SEND_BYTES_SHIFT)
        at_once = min(self._left // cost, count)
        self._left -= at_once * cost
        return at_once

    def _defer(self, outboxes: Iterable[Any], chunk: bytes, refused: list[Any]) -> list[Any]:
        """Queue `chunk` for a later round; return `refused`, with those outboxes that did not accept it."""
        size, alone = len(chunk), (chunk,)
        queued_at_most = self._outbox_bytes - size
        before: tuple[bytes, ...] = ()
        behind = alone  # `chunk` behind `before`: outboxes that wait for the same bytes share them
        waiting = self._waiting
        count = len(waiting)
        self.deferred += 1
        for outbox in outboxes:
            queue = outbox.queue
            if queue is None:
                outbox.queue = alone
                outbox.queued_bytes = size
                waiting.append(outbox)
            elif type(queue) is tuple and outbox.queued_bytes <= queued_at_most:
                if queue is not before:
                    before, behind = queue, queue + alone
                outbox.queue = behind
                outbox.queued_bytes += size
            else:
                try:
                    if not outbox.offer(chunk):
                        refused.append(outbox)
                except Exception as error:  # noqa: BLE001  as above
                    outbox.fail(error)
        self._ever_queued += len(waiting) - count
        if waiting and not self._scheduled:
            self._scheduled = True
            self._loop.run_next_round(self._let_others_go_first)
        return refused

    def _let_others_go_first(self) -> None:
        """Send at the end of this round: timers run before the sockets that were ready are served."""
        self._loop.run_callback(self._send_waiting)

    def _send_waiting(self) -> None:
        """Send to those outboxes that have waited longest."""
        waiting, marks = self._waiting, self._marks
        turns = waiting[:SENDS_AT_ONCE]
        left = SENDS_AT_ONCE - len(turns)
        del waiting[:SENDS_AT_ONCE]
        turn: Iterator[Any] = iter(turns)
        queued: tuple[bytes, ...] = ()  # of the outbox before
        short: tuple[bytes, ...] = ()  # the same, if it counts as one send
        data, size, extra = b"", 0, 0
        try:
            for outbox in turn:
                queue = outbox.queue
                if queue is not short:
                    if type(queue) is not tuple:
                        continue  # it has been sent to meanwhile, or has gone
                    if queue is not queued:
                        queued, data = queue, b"".join(queue)
                        size = len(data)
                    if extra >= SENDS_AT_ONCE:
                        turn = chain((outbox,), turn)
                        break
                    extra += size >> SEND_BYTES_SHIFT
                    short = () if size >> SEND_BYTES_SHIFT else queue
                try:  # `Outbox.uncork`, inlined: this saves three calls
                    try:
                        sent = outbox.send(data)
                    except BlockingIOError:
                        sent = 0
                    if sent == size:
                        outbox.queue = None
                        outbox.queued_bytes = 0
                    else:
                        outbox.keep_rest(data, sent)
                except OSError:
                    outbox.discard()
                except Exception as error:  # noqa: BLE001  as above
                    outbox.fail(error)
        finally:
            waiting[:0] = turn  # those whose turn has not come
            self._round, self._left = self._loop.polls.iteration, max(left - extra, 0)
            try:
                sent_to = self._ever_queued - len(waiting)
                while marks and marks[0][0] <= sent_to:
                    marks.popleft()[1]()
            finally:
                self._scheduled = bool(waiting or marks)
                if self._scheduled and self._loop.has_input():
                    self._loop.run_next_round(self._let_others_go_first)
                elif self._scheduled:
                    self._loop.run_callback(self._send_waiting)

"""`chat-client send`: sends messages and returns when the server has acknowledged them.

Never writes to stdout. Reconnects for as long as one answer may take (`--timeout`), so that a long stream
survives a restart of the server.
"""

import collections
import time
from typing import Final

from chat_client.base.pacing import Pacer
from chat_client.client import Client
from chat_client.commands.input_lines import InputError, InputLine, stdin_lines
from chat_client.commands.support import open_client, print_to_stderr
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError, Refused, TimedOut
from chat_client.options.exit_codes import ExitCode, exit_code
from chat_client.options.settings import Settings
from chat_client.text.render import format_count
from chat_client.text.split_text import split_text
from chat_protocol.commands import Message
from chat_protocol.errors import ErrorCode
from chat_protocol.events import MessageEvent
from chat_protocol.message_text import text_problem

_SHOWN_LINES: Final = 10  # rejected ones that are named each; binary input would fill the screen
_SHOWN_CHARS: Final = 60


def run_send(settings: Settings, words: list[str], room: str, to: str | None) -> ExitCode:
    """Send the words as one message, or each line of stdin as one; `to` takes precedence over `room`."""
    text = " ".join(words)
    if words and (problem := _argument_problem(text)) is not None:
        print_to_stderr(f"not sent: {problem}")
        return ExitCode.REFUSED
    try:
        lines = iter([InputLine(0, text)]) if words else stdin_lines()
    except InputError as error:
        print_to_stderr(str(error))
        return ExitCode.USAGE
    client = open_client(settings, rooms=[] if to is not None else [room], reconnect=True)
    sender = _Sender(client, None if to is not None else room, to)
    code = ExitCode.OK
    try:
        try:
            for line in lines:
                sender.send_line(line)
        except InputError as error:
            print_to_stderr(str(error))
            code = ExitCode.USAGE
        sender.follow_up(0)
    except ChatError as error:
        reason = client.loss or error if isinstance(error, TimedOut) else error
        print_to_stderr(f"{reason}{sender.unacknowledged_note()}")
        client.close()
        return exit_code(reason)
    except KeyboardInterrupt:
        client.close()
        print_to_stderr(f"interrupted{sender.unacknowledged_note()}")
        return ExitCode.INTERRUPTED
    client.quit()
    if sender.rejected_lines:
        print_to_stderr(sender.rejected_note())
        return code or ExitCode.REFUSED
    if not sender.line_count and code is ExitCode.OK:
        print_to_stderr("nothing to send: stdin contained no text")
        return ExitCode.USAGE
    return code


def _argument_problem(text: str) -> str | None:
    """Return why the arguments can be no message, or several; None if they can."""
    if not text.strip():
        return "the message is blank"
    if any("\ud800" <= char <= "\udfff" for char in text):  # a byte that Python could not decode (PEP 383)
        return f"the message is not valid text in this locale: {text[:_SHOWN_CHARS]!r}"
    problem = next(filter(None, map(text_problem, split_text(text))), None)
    return None if problem is None else f"{problem}: {text[:_SHOWN_CHARS]!r}"


class _Sender:
    """Sends lines within the server's rate limits and waits for each acknowledgement."""

    def __init__(self, client: Client, room: str | None, to: str | None) -> None:
        self.line_count = 0  # with text, read so far
        self.rejected_lines: list[int] = []  # numbers of those that are no valid messages
        self._client = client
        self._room = room
        self._to = to
        self._pacer = Pacer(client.welcome.limits)
        self._in_flight: collections.deque[tuple[Pending[MessageEvent], int]] = collections.deque()

    def send_line(self, line: InputLine) -> None:
        """Send a line, as several messages if it is too long for one."""
        self.line_count += 1
        problem = line.problem
        pieces = split_text(line.text) if problem is None else []
        problem = problem or next(filter(None, map(text_problem, pieces)), None)
        if problem is not None:
            self._reject(line, problem)
            return
        for piece in pieces:
            self._send(piece, line.number)
        self.follow_up(len(self._in_flight), wait=False)

    def rejected_note(self) -> str:
        """Return a sentence that says how many lines were sent, and which were not."""
        sent = self.line_count - len(self.rejected_lines)
        shown = ", ".join(map(str, self.rejected_lines[:_SHOWN_LINES]))
        more = f" and {len(self.rejected_lines) - _SHOWN_LINES} more" * (
            len(self.rejected_lines) > _SHOWN_LINES
        )
        if not self.rejected_lines[0]:
            return "nothing was sent"
        return f"{sent} of {format_count(self.line_count, 'line')} sent; not sent: line {shown}{more}"

    def unacknowledged_note(self) -> str:
        """Return which messages were not acknowledged, to be appended to a sentence; empty if none."""
        left = self._client.unacknowledged
        if not left:
            return ""
        said = f"{format_count(len(left), 'message')} {'was' if len(left) == 1 else 'were'}"
        numbers = [number for pending, number in self._in_flight if pending.command == left[0]]
        where = f"line {numbers[0]}, " if numbers and numbers[0] else ""
        return f"; {said} not acknowledged, from {where}{left[0].message[:_SHOWN_CHARS]!r} on"

    def _reject(self, line: InputLine, problem: str) -> None:
        self.rejected_lines.append(line.number)
        if len(self.rejected_lines) <= _SHOWN_LINES:
            print_to_stderr(f"line {line.number} was not sent: {problem}: '{line.text[:_SHOWN_CHARS]}'")

    def follow_up(self, leave: int, *, wait: bool = True) -> None:
        """Handle acknowledgements until only `leave` are missing; without `wait`, those that have arrived."""
        while self._in_flight and (len(self._in_flight) > leave if wait else self._in_flight[0][0].done):
            pending, number = self._in_flight[0]
            try:
                pending.wait(self._client.timeout)
            except Refused as refused:
                if refused.code is not ErrorCode.RATE_LIMITED:
                    raise
                # Rare, as the pacer keeps below the limits: they have been lowered meanwhile.
                time.sleep(refused.retry_after or 1.0)
                assert isinstance(pending.command, Message)
                self._send(pending.command.message, number)
            self._in_flight.popleft()

    def _send(self, text: str, number: int) -> None:
        time.sleep(self._pacer.next_wait(len(text.encode())))
        self._in_flight.append((self._client.send(text, self._room, self._to), number))

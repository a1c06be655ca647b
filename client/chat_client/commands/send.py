"""`chat-client send`: sends messages and returns when the server has acknowledged them.

Never writes to stdout. Reconnects for as long as one answer may take (`--timeout`), so that a long stream
survives a restart of the server.
"""

import collections
import sys
import time
from collections.abc import Iterator

from chat_client.base.pacing import Pacer
from chat_client.client import Client
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


def run_send(settings: Settings, words: list[str], room: str, to: str | None) -> ExitCode:
    """Send the words as one message, or each line of stdin as one; `to` takes precedence over `room`."""
    text = " ".join(words)
    if words and not text.strip():
        print_to_stderr("not sent: the message is blank")
        return ExitCode.REFUSED
    lines = iter([text]) if words else _stdin_lines()
    client = open_client(settings, rooms=[] if to is not None else [room], reconnect=True)
    sender = _Sender(client, None if to is not None else room, to)
    try:
        for line in lines:
            sender.send_line(line)
        sender.follow_up(0)
    except ChatError as error:
        reason = client.loss or error if isinstance(error, TimedOut) else error
        print_to_stderr(f"{reason}{_unacknowledged_note(client)}")
        client.close()
        return exit_code(reason)
    except KeyboardInterrupt:
        client.close()
        print_to_stderr(f"interrupted{_unacknowledged_note(client)}")
        return ExitCode.INTERRUPTED
    client.quit()
    if not sender.line_count:
        print_to_stderr("nothing to send: stdin contained no text")
        return ExitCode.USAGE
    return ExitCode.REFUSED if sender.rejected_count else ExitCode.OK


class _Sender:
    """Sends lines within the server's rate limits and waits for each acknowledgement."""

    def __init__(self, client: Client, room: str | None, to: str | None) -> None:
        self.line_count = 0  # read so far
        self.rejected_count = 0  # lines that are not valid messages
        self._client = client
        self._room = room
        self._to = to
        self._pacer = Pacer(client.welcome.limits)
        self._in_flight: collections.deque[Pending[MessageEvent]] = collections.deque()

    def send_line(self, line: str) -> None:
        """Send a line, as several messages if it is too long for one."""
        self.line_count += 1
        for piece in split_text(line):
            if (problem := text_problem(piece)) is not None:
                self.rejected_count += 1
                print_to_stderr(f"not sent: {problem}: {piece[:60]!r}")
                continue
            self._send(piece)
        self.follow_up(len(self._in_flight), wait=False)

    def follow_up(self, leave: int, *, wait: bool = True) -> None:
        """Handle acknowledgements until only `leave` are missing; without `wait`, those that have arrived."""
        while self._in_flight and (len(self._in_flight) > leave if wait else self._in_flight[0].done):
            pending = self._in_flight.popleft()
            try:
                pending.wait(self._client.timeout)
            except Refused as refused:
                if refused.code is not ErrorCode.RATE_LIMITED:
                    raise
                # Rare, as the pacer keeps below the limits: they have been lowered meanwhile.
                time.sleep(refused.retry_after or 1.0)
                assert isinstance(pending.command, Message)
                self._send(pending.command.message)

    def _send(self, text: str) -> None:
        time.sleep(self._pacer.next_wait(len(text.encode())))
        self._in_flight.append(self._client.send(text, self._room, self._to))


def _stdin_lines() -> Iterator[str]:
    for raw in sys.stdin.buffer:
        line = raw.rstrip(b"\r\n").decode(errors="replace")
        if line.strip():
            yield line


def _unacknowledged_note(client: Client) -> str:
    left = client.unacknowledged
    if not left:
        return ""
    said = f"{format_count(len(left), 'message')} {'was' if len(left) == 1 else 'were'}"
    return f"; {said} not acknowledged, from {left[0].message[:60]!r} on"

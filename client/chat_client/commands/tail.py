"""`chat-client tail`: prints the messages of a room to stdout, as text or JSON lines.

Diagnostics go to stderr.
"""

import sys
from typing import Final

from chat_client.commands.support import open_client, print_to_stderr
from chat_client.errors import ChatError
from chat_client.events import Back, Lost, Overrun
from chat_client.follow import follow
from chat_client.options.exit_codes import ExitCode, exit_code
from chat_client.options.settings import Settings
from chat_client.text.render import Painter, back_text, message_text
from chat_client.text.sanitize import escape_json_controls
from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Event, Gap, MessageEvent

PING_INTERVAL_S: Final = 5.0
"""A server that stops answering is noticed as at a terminal: after 20 s, `_MIN_SILENCE_S` of reconnect.py."""


def run_tail(
    settings: Settings, room: str, *, as_json: bool, since: int | None, count: int | None, reconnect: bool
) -> ExitCode:
    """Print messages, `count` of them or until the session ends; return the exit code."""
    client = open_client(settings, rooms=[room], reconnect=reconnect, ping_every=PING_INTERVAL_S)
    painter = Painter(colours=False)
    left = count
    try:
        for message in follow(client, room, since, _report_event) if left != 0 else ():
            line = _json_line(message) if as_json else message_text(message, painter)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()  # a reader of the pipe gets each message at once
            if left is not None:
                left -= 1
                if left == 0:
                    break
        else:
            if left != 0:
                print_to_stderr("the session has ended")
                return ExitCode.CONNECTION
    except ChatError as error:
        print_to_stderr(str(error))
        return exit_code(error)
    finally:
        client.close()
    return ExitCode.OK


def _json_line(message: MessageEvent) -> str:
    line = escape_json_controls(encode(message).decode().rstrip("\n"))
    try:
        line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # the escapes that the stream would write are not those of JSON
        return escape_json_controls(line, ascii_only=True)
    return line


def _report_event(event: Event) -> None:
    match event:
        case Lost():
            print_to_stderr(f"{event.message}; trying again in {event.wait:.1f} s")
        case Back():
            print_to_stderr(back_text(event))
        case Gap():
            print_to_stderr(f"messages {event.first} to {event.last} are no longer available")
        case Overrun():
            print_to_stderr("output is too slow; continuing from the log")
        case _:
            pass

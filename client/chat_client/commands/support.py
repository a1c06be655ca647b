"""What the subcommands for scripts share: a session under some free name, and words on stderr.

Knows settings and the library. Must not write to stdout, which holds data only.
"""

import os
import sys
from collections.abc import Iterable

from chat_client.client import Client
from chat_client.errors import Refused
from chat_client.options.default_name import script_names
from chat_client.options.settings import Settings
from chat_client.text.sanitize import one_line
from chat_protocol.errors import ErrorCode


def print_to_stderr(sentence: str) -> None:
    """Say something to the person, not to the pipe."""
    sys.stderr.write(f"chat-client: {one_line(sentence)}\n")
    sys.stderr.flush()


def open_client(
    settings: Settings, *, rooms: Iterable[str], reconnect: bool = False, ping_every: float = 30.0
) -> Client:
    """Return a connected client; a name that was not demanded by flag gives way to one with a suffix."""
    joined = list(rooms)
    names = list(script_names(settings.username))
    if settings.strict_name and settings.username is not None:
        names = [settings.username]
    for name in names:
        client = Client(
            name,
            settings.effective_servers,
            rooms=joined,
            reconnect=reconnect,
            timeout=settings.timeout,
            ping_every=ping_every,
            program="chat-client",
        )
        try:
            client.connect()
        except Refused as refused:
            if refused.code is not ErrorCode.NAME_TAKEN or name == names[-1]:
                raise
        else:
            if len(client.addresses) > 1:
                print_to_stderr(_chosen_server_sentence(client))
            return client
    raise AssertionError("there is always a name to try")


def _chosen_server_sentence(client: Client) -> str:
    silent = [result.problem or str(result.address) for result in client.measured if result.rtt_ms is None]
    answered = len(client.measured) - len(silent)
    what = f"answers quickest of {answered}" if answered > 1 else "is the only one that answers"
    return "; ".join([f"{client.address} {what}", *silent])


def discard_stdout() -> None:
    """Let nothing more be written after the reader of our output has gone, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Shared by the subcommands for scripts: connecting under a free name, and messages on stderr.

Never writes to stdout, which is for data only.
"""

from collections.abc import Iterable
from typing import Final

from chat_cli.streams import print_error
from chat_client.client import Client
from chat_client.errors import Refused
from chat_client.options.default_name import script_names
from chat_client.options.settings import Settings
from chat_client.options.state_folder import sessions_folder
from chat_client.text.sanitize import one_line
from chat_protocol.errors import ErrorCode

PROGRAM: Final = "chat-client"


def print_to_stderr(sentence: str) -> None:
    """Print a sentence to stderr, sanitized and with the program's name."""
    print_error(PROGRAM, one_line(sentence))


def open_client(
    settings: Settings, *, rooms: Iterable[str], reconnect: bool = False, ping_every: float = 30.0
) -> Client:
    """Return a connected client. If the name is taken, tries others with a suffix unless given by a flag."""
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
            program=PROGRAM,
            # A name that was not asked for may be that of an interactive session, which is not ours to end.
            state=sessions_folder() if settings.strict_name else None,
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
    raise AssertionError("script_names yields at least one name")


def _chosen_server_sentence(client: Client) -> str:
    silent = [result.problem or str(result.address) for result in client.measured if result.rtt_ms is None]
    answered = len(client.measured) - len(silent)
    what = f"answers quickest of {answered}" if answered > 1 else "is the only one that answers"
    return "; ".join([f"{client.address} {what}", *silent])

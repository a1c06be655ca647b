"""Opens the session of the interactive client: prompts for server and name if missing or rejected."""

import asyncio

from prompt_toolkit import PromptSession

from chat_client.address import Address, parse_servers
from chat_client.client import Client
from chat_client.errors import ConnectionFailed, Refused
from chat_client.options.default_name import default_username
from chat_client.options.settings import Settings
from chat_client.options.state_folder import sessions_folder
from chat_client.options.termination import termination
from chat_client.text.sanitize import one_line
from chat_protocol.errors import ErrorCode
from chat_protocol.names import validate_name

PING_INTERVAL_S = 5.0
"""Between the pings for the status line: current, and no load for a server."""


def open_session(settings: Settings, room: str) -> Client:
    """Return a connected client. Raises `ChatError` where another prompt would not help."""
    servers = settings.servers
    asked = not servers
    username = settings.username
    while True:
        servers = servers or _ask_server(settings.effective_servers[0])
        if len(servers) > 1:
            print(f"measuring {len(servers)} servers ...")  # noqa: T201  the terminal is ours
        username = username or _ask_username()
        try:
            client = _connect(settings, servers, username, room)
        except ConnectionFailed as error:
            if not asked:
                raise
            _print_line(f"Could not connect: {error}")
            servers = []
        except ValueError as error:
            _print_line(f"{error}")
            username = None
        except Refused as refused:
            if refused.code not in {ErrorCode.NAME_TAKEN, ErrorCode.NAME_INVALID, ErrorCode.FORBIDDEN}:
                raise
            _print_line(f"Name not accepted: {refused.message}")
            username = None
        else:
            return client


def _connect(settings: Settings, servers: list[Address], username: str, room: str) -> Client:
    client = Client(
        validate_name(username),
        servers,
        rooms=[room],
        reconnect=True,
        timeout=settings.timeout,
        ping_every=PING_INTERVAL_S,
        program="chat-client",
        state=sessions_folder(),
    )
    try:
        client.connect()
    except BaseException:
        client.close()
        raise
    for result in client.measured:
        if result.rtt_ms is None:
            _print_line(f"  {result.problem}")
        else:
            chosen = "  <- the quickest, used" if result.address == client.address else ""
            _print_line(f"  {result.address}: {result.rtt_ms:.1f} ms{chosen}")
    return client


def _ask_server(default: Address) -> list[Address]:
    while True:
        answer = _prompt_line(f"Server [{default}]: ")
        if not answer:
            return [default]
        try:
            return parse_servers(answer)
        except ValueError as error:
            _print_line(str(error))


def _ask_username() -> str:
    default = default_username()
    while True:
        answer = _prompt_line(f"Username [{default}]: ") or default
        try:
            return validate_name(answer)
        except ValueError as error:
            _print_line(f"{answer!r}: {error}")


def _prompt_line(question: str) -> str:
    session = PromptSession[str]()
    app = session.app

    def end_if_terminated() -> None:
        if termination.received and app.future is not None and not app.future.done():
            app.exit(exception=EOFError)

    def schedule() -> None:
        if app.loop is not None:
            app.loop.call_soon_threadsafe(end_if_terminated)

    def begin() -> None:
        asyncio.get_running_loop().call_soon(end_if_terminated)  # the signal came before there was a loop

    with termination.deferred(schedule):
        return session.prompt(question, pre_run=begin).strip()


def _print_line(sentence: str) -> None:
    print(one_line(sentence))  # noqa: T201  the terminal is ours, and no prompt is open

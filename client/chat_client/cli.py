"""The command `chat-client`: options, subcommands, exit codes.

Subcommands are imported when they run: importing prompt_toolkit takes longer than sending a script's message.
"""

import argparse
import sys
from collections.abc import Sequence

from chat_cli import __version__, streams
from chat_client.commands.support import PROGRAM, print_to_stderr
from chat_client.errors import ChatError
from chat_client.options.exit_codes import EXIT_CODES_HELP, ExitCode, exit_code
from chat_client.options.settings import (
    USERNAME_VARIABLE,
    Settings,
    add_options,
    argument_type,
    gather_settings,
    positive_seconds,
)
from chat_client.options.termination import termination
from chat_protocol import LOBBY
from chat_protocol.names import validate_name

_DESCRIPTION = """\
Chat on a Greenroom server. Without a subcommand: interactive, in this terminal.

  chat-client                                   asks for server and name
  chat-client --server chat.example:7072 --username ann
  chat-client send --room ops "deploy finished"
  make 2>&1 | chat-client send --room ops
  chat-client tail --room ops --json | jq .message
  chat-client rtt -c 10
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    code = streams.run(
        PROGRAM,
        lambda: _main(argv),
        output_failed=ExitCode.USAGE,
        reader_gone=ExitCode.OK,
        output_closed=ExitCode.OK,
    )
    return termination.exit_code(code)


def _main(argv: Sequence[str] | None) -> int:
    parser = _make_parser()
    options = parser.parse_args(argv)
    try:
        settings = gather_settings(options)
        _check_names(options, settings)
    except ValueError as error:
        parser.error(str(error))
    for note in settings.notes:
        print_to_stderr(note)
    termination.install()
    try:
        return _run(options, settings)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except ChatError as error:
        print_to_stderr(str(error))
        return exit_code(error)


def _run(options: argparse.Namespace, settings: Settings) -> ExitCode:
    match options.subcommand:
        case "send":
            from chat_client.commands.send import run_send  # noqa: PLC0415  see the top of the file

            return run_send(settings, options.text, options.room, options.to)
        case "tail":
            from chat_client.commands.tail import run_tail  # noqa: PLC0415  as above

            return run_tail(
                settings,
                options.room,
                as_json=options.json,
                since=options.since,
                count=options.count,
                reconnect=options.reconnect,
            )
        case "rtt":
            from chat_client.commands.rtt import run_rtt  # noqa: PLC0415  as above

            return run_rtt(settings, options.count, options.interval)
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):  # None: it is closed
        print_to_stderr("not a terminal; in scripts use chat-client send, tail or rtt (see --help)")
        return ExitCode.USAGE
    from chat_client.terminal.app import run_terminal  # noqa: PLC0415  as above

    return run_terminal(settings, options.room)


def _check_names(options: argparse.Namespace, settings: Settings) -> None:
    """Reject names that no server accepts, before connecting. Raises `ValueError` with flag or variable."""
    # At a terminal, an invalid name leads to a new prompt.
    username = None if options.subcommand is None else settings.username
    for source, name in (
        ("--room", getattr(options, "room", None)),
        ("--to", getattr(options, "to", None)),
        ("--username" if settings.strict_name else USERNAME_VARIABLE, username),
    ):
        if name is not None:
            try:
                validate_name(name)
            except ValueError as error:
                raise ValueError(f"{source} {name!r}: {error}") from None


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chat-client",
        description=_DESCRIPTION,
        epilog=EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chat-client {__version__}")
    parser.add_argument("--room", default=LOBBY, help=f"room to start in (default: {LOBBY})")
    add_options(parser)
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", title="for scripts")

    def subcommand(name: str, summary: str) -> argparse.ArgumentParser:
        added = subcommands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=EXIT_CODES_HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_options(added)
        return added

    send = subcommand("send", "send a message, and return when the server has acknowledged it")
    where = send.add_mutually_exclusive_group()
    where.add_argument("--room", default=argparse.SUPPRESS, help=f"room to send to (default: {LOBBY})")
    where.add_argument("--to", metavar="NAME", default=None, help="send to this user only")
    send.add_argument(
        "text", metavar="TEXT", nargs="*", help="the message; without it, each line of stdin is a message"
    )

    tail = subcommand("tail", "print the messages of a room, one a line")
    tail.add_argument("--room", default=argparse.SUPPRESS, help=f"room to follow (default: {LOBBY})")
    tail.add_argument(
        "--json", action="store_true", help="print messages as the protocol's events, one JSON object a line"
    )
    tail.add_argument(
        "--since", metavar="SEQ", type=argument_type(_count), help="first print the messages after this seq"
    )
    tail.add_argument(
        "-n",
        dest="count",
        metavar="COUNT",
        type=argument_type(_count),
        help="stop after COUNT messages (those after --since first, then new ones)",
    )
    tail.add_argument(
        "--reconnect", action="store_true", help="reconnect after a lost connection, without missing messages"
    )

    rtt = subcommand("rtt", "measure round-trip times to the server, like ping")
    rtt.add_argument(
        "-c",
        dest="count",
        metavar="N",
        type=argument_type(_positive_count),
        help="stop after N pings (default: Ctrl-C)",
    )
    rtt.add_argument(
        "-i",
        dest="interval",
        metavar="SECONDS",
        type=argument_type(positive_seconds),
        default=1.0,
        help="seconds between pings (default: 1)",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{text!r} is not a whole number from 0")
    return int(text)


def _positive_count(text: str) -> int:
    if (number := _count(text)) == 0:
        raise ValueError(f"{text!r} is not a whole number from 1")
    return number

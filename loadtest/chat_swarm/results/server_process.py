"""Whose process was sampled as "the server's": its command, and whether it is a chat server at all."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from chat_swarm.model.schema import ServerFigures, ServerLogFigures, Summary
from chat_swarm.model.units import microseconds

_SERVER_COMMANDS: Final = frozenset({"chat-server", "chat_server"})
_COMMAND_CHARS: Final = 60


def short_command(server: ServerFigures) -> str:
    """Return the command without folders and without its Python, cut to one line."""
    words = server.command.split(" ")
    if len(words) > 1 and PurePath(words[0]).name.startswith("python"):
        del words[0]
    text = " ".join([PurePath(words[0]).name, *words[1:]])
    return text if len(text) <= _COMMAND_CHARS else f"{text[: _COMMAND_CHARS - 1]}…"


def foreign_listener(summary: Summary) -> Iterator[str]:
    """Yield a warning if the process that was found by its port is no chat-server: a proxy, a tunnel."""
    server = summary.server
    if server is None or summary.options.get("server_pid"):
        return
    names = {PurePath(word).name for word in server.command.split(" ")[:3]}
    if not names & _SERVER_COMMANDS:
        yield (
            f"What listens at {summary.target} is pid {server.pid}, `{short_command(server)}`, which is no"
            " chat-server: CPU and memory are that program's, and the latencies include it. If the server is"
            " behind it, give its pid with --server-pid."
        )


def server_log_sentence(log: ServerLogFigures) -> str:
    """Return the server's own latencies, or why there are none."""
    if log.problem:
        return f"its own log ({log.path}) was of no use: {log.problem}"
    parts = [
        f"{what} p50 {microseconds(short.p50)}, p99 {microseconds(short.p99)}, max {microseconds(short.max)}"
        for what, short in (
            ("acceptance → commit", log.accept_to_commit),
            ("commit → last send", log.commit_to_sent),
        )
        if short.count
    ]
    lag = f"loop lag up to {microseconds(log.loop_lag_max_us)}"
    return f"by its own log: {'; '.join([*parts, lag])}"

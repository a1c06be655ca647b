import typing

import msgspec
import pytest

from chat_protocol import commands
from chat_protocol.commands import Command
from chat_protocol.dialects.ndjson import decode_command
from chat_protocol.errors import ErrorCode, Fault

WIRE: list[tuple[bytes, Command]] = [
    (b'{"type":"hello","username":"ann"}', commands.Hello(username="ann")),
    (
        b'{"type":"hello","username":"ann","rooms":["a","b"],"resumable":true,"ref":"1","client":"c"}',
        commands.Hello(username="ann", rooms=["a", "b"], resumable=True, ref="1", client="c"),
    ),
    (
        b'{"type":"hello","username":"ann","resume":{"session":"s","epoch":"e","rooms":{"a":5}}}',
        commands.Hello(username="ann", resume=commands.Resume(session="s", epoch="e", rooms={"a": 5})),
    ),
    (b'{"type":"message","message":"hi"}', commands.Message(message="hi")),
    (b'{"type":"message","message":"hi","room":"a"}', commands.Message(message="hi", room="a")),
    (b'{"type":"message","message":"hi","to":"bob"}', commands.Message(message="hi", to="bob")),
    (b'{"type":"join","room":"a"}', commands.Join(room="a")),
    (b'{"type":"leave","room":"a"}', commands.Leave(room="a")),
    (b'{"type":"open","with":"bob"}', commands.Open(peer="bob")),
    (b'{"type":"close","with":"bob"}', commands.Close(peer="bob")),
    (b'{"type":"rooms"}', commands.Rooms()),
    (b'{"type":"rooms","after":"a"}', commands.Rooms(after="a")),
    (b'{"type":"who"}', commands.Who()),
    (b'{"type":"who","room":"a","after":"bob"}', commands.Who(room="a", after="bob")),
    (b'{"type":"servers"}', commands.Servers()),
    (b'{"type":"history","room":"a"}', commands.History(room="a", limit=50)),
    (
        b'{"type":"history","room":"a","before":9,"limit":500}',
        commands.History(room="a", before=9, limit=500),
    ),
    (b'{"type":"history","room":"a","after":0,"limit":1}', commands.History(room="a", after=0, limit=1)),
    (b'{"type":"rtt"}', commands.Rtt()),
    (b'{"type":"rtt","username":"bob"}', commands.Rtt(username="bob")),
    (b'{"type":"ping"}', commands.Ping()),
    (b'{"type":"ping","id":"x"}', commands.Ping(id="x")),
    (b'{"type":"ping","id":-7}', commands.Ping(id=-7)),
    (b'{"type":"pong","id":"x"}', commands.Pong(id="x")),
    (b'{"type":"rename","username":"bob"}', commands.Rename(username="bob")),
    (b'{"type":"quit"}', commands.Quit()),
    (b'{"type":"quit","reason":"late"}', commands.Quit(reason="late")),
]


@pytest.mark.parametrize(("line", "command"), WIRE, ids=lambda value: repr(value)[:60])
def test_command_on_the_wire(line: bytes, command: Command) -> None:
    assert decode_command(line) == command


def test_wire_types_are_those_of_the_protocol() -> None:
    assert {
        *("hello", "message", "join", "leave", "open", "close", "rooms", "who", "servers", "history", "rtt"),
        *("ping", "pong", "rename", "quit"),
    } == commands.WIRE_TYPES
    assert {str(command.__struct_config__.tag) for _, command in WIRE} == commands.WIRE_TYPES


@pytest.mark.parametrize("word", ["Arrive", "Switch", "Help", "Say", "arrive", "switch", "help", "say"])
def test_commands_of_other_dialects_are_not_in_the_wire_union(word: str) -> None:
    fault = decode_command(f'{{"type":"{word}","room":"a","username":"a","message":"a"}}'.encode())
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.UNKNOWN_TYPE


@pytest.mark.parametrize("kind", typing.get_args(commands.AnyCommand))
def test_command_is_frozen_with_optional_ref(kind: type[Command]) -> None:
    assert issubclass(kind, Command)
    assert kind.__struct_config__.frozen
    assert "ref" in {field.name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("kind", typing.get_args(commands.AnyCommand))
def test_command_has_a_docstring(kind: type[Command]) -> None:
    assert kind.__doc__


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ping","id":9223372036854775808}',
        b'{"type":"ping","id":-9223372036854775809}',
        b'{"type":"ping","id":1.5}',
        b'{"type":"ping","id":"' + b"x" * 65 + b'"}',
        b'{"type":"pong"}',
        b'{"type":"history","room":"a","limit":0}',
        b'{"type":"history","room":"a","limit":501}',
        b'{"type":"history","room":"a","limit":"50"}',
        b'{"type":"history","room":"a","before":4611686018427387905}',
        b'{"type":"hello","username":"a","rooms":"lobby"}',
        b'{"type":"hello","username":"a","rooms":[1]}',
        b'{"type":"hello","username":"a","resume":{}}',
        b'{"type":"hello","username":"a","client":"' + b"x" * 101 + b'"}',
        b'{"type":"hello","username":"a","resumable":1}',
        b'{"type":"open","peer":"bob"}',
        b'{"type":"quit","reason":"' + b"x" * 1001 + b'"}',
    ],
    ids=lambda line: repr(line[:60]),
)
def test_command_value_out_of_bounds_is_invalid(line: bytes) -> None:
    fault = decode_command(line)
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.INVALID_FIELD

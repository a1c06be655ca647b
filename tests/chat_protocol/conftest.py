"""Hypothesis strategies for commands and events, made from the annotations of their Structs."""

import types
import typing
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chat_protocol import commands, events

NAMES = st.text("abzAZ09éß字.-_", max_size=31).map("n".__add__)
TIMES_UNIX = st.floats(0, 4e9)  # to the year 2096
BY_FIELD = {"username": NAMES, "room": NAMES, "peer": NAMES, "timestamp": TIMES_UNIX}
TEXTS = st.text(max_size=20)


def values(kind: Any) -> SearchStrategy[Any]:
    """Return a strategy for values of the annotation `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return within(arguments[0], arguments[1])
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([values(argument) for argument in arguments])
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is Sequence:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if issubclass(kind, msgspec.Struct):
        return structs(kind)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    plain: dict[type, SearchStrategy[Any]] = {
        str: TEXTS,
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[kind]


def within(kind: type, meta: msgspec.Meta) -> SearchStrategy[Any]:
    """Return a strategy for values within the limits of `meta`."""
    if kind is int:
        low, high = meta.ge, meta.le
        assert low is not None
        assert high is not None
        return st.integers(int(low), int(high))
    return st.text(min_size=meta.min_length or 0, max_size=meta.max_length)


def structs(kind: type[msgspec.Struct]) -> SearchStrategy[Any]:
    """Return a strategy for instances of `kind`, with or without each optional field."""
    required: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(kind):
        known = BY_FIELD.get(field.name)
        (required if field.required else optional)[field.name] = (
            values(field.type) if known is None else known
        )
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind(**fields))


@pytest.fixture(scope="session")
def any_event() -> SearchStrategy[events.Event]:
    return st.one_of([structs(kind) for kind in typing.get_args(events.WireEvent)])


@pytest.fixture(scope="session")
def any_command() -> SearchStrategy[commands.Command]:
    return st.one_of([structs(kind) for kind in typing.get_args(commands.WireCommand)])


@pytest.fixture(scope="session")
def any_messages() -> SearchStrategy[list[events.MessageEvent]]:
    return st.lists(structs(events.MessageEvent), max_size=5)

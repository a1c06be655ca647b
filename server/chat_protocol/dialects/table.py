"""The table of dialects: the encoder of each, by dialect number (see `base.py`)."""

from typing import Final

from chat_protocol.dialects.base import Encoder
from chat_protocol.dialects.ndjson import NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec

ENCODERS: Final[tuple[Encoder, ...]] = (NdjsonCodec, TwoFieldCodec, PlainTextCodec)

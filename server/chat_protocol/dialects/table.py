"""The table of dialects: the encoding of each. Another one is a row here, and first bytes in `detect.py`."""

from typing import Final

from chat_protocol.dialects.base import Encoding
from chat_protocol.dialects.ndjson import NDJSON
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.dialects.two_field import TWO_FIELD

ENCODINGS: Final[tuple[Encoding, ...]] = (NDJSON, TWO_FIELD, PLAIN_TEXT)

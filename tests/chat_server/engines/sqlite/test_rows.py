from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chat_server.core.delivery.batch import QueuedMessage
from chat_server.core.delivery.publisher import message_event
from chat_server.core.ports.records import Origin
from chat_server.engines.memory import MemoryStore
from chat_server.engines.sqlite.rows import COLUMNS, from_row, to_row

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen


def test_row_of_message_converts_back_to_its_event(make_pen: type[Pen]) -> None:
    pen = make_pen(MemoryStore(1))
    pen.author.origin = Origin.SERVER
    for ref in ("r", None):
        message = QueuedMessage(pen.room("a"), pen.author, "ann", "héllo\n\t", ref, 0.0, seq=7, id=9)
        row: Any = to_row(message, 1.5)
        assert len(row) == len(COLUMNS.split(","))
        assert from_row(row, "a") == message_event(message, 1.5)

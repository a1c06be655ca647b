"""Text of a bot's message: a header with counter and send times, then padding.

The format is `s1 RUN COUNTER PLANNED SENT `, then padding up to the wanted size. PLANNED and SENT are
nanoseconds since the epoch, so that a receiver in any process of the machine can compute the latency by
itself.
"""

from typing import Final, NamedTuple

from chat_swarm.model.plan import MIN_PAYLOAD_BYTES

_FORMAT: Final = "s1"
_PADDING: Final = "what is said here means nothing and is only as long as it was asked to be; " * 110

RUN_ID_CHARS: Final = 8
"""Longest run id, in characters."""

assert len(f"{_FORMAT} {'r' * RUN_ID_CHARS} {10**9} {2**63} {2**63} ") <= MIN_PAYLOAD_BYTES


class PayloadHeader(NamedTuple):
    """Header of a bot's message: per-sender counter, planned and actual send time (ns since the epoch)."""

    counter: int
    planned_ns: int
    sent_ns: int


NO_HEADER: Final = PayloadHeader(0, 0, 0)
"""For a message that no bot of this run sent."""


def build_text(run_id: str, counter: int, planned_ns: int, sent_ns: int, size: int) -> str:
    """Return a text of `size` ASCII characters without JSON escapes; longer only if the header is."""
    text = f"{_FORMAT} {run_id} {counter} {planned_ns} {sent_ns} "
    return text + _PADDING[: size - len(text)] if size > len(text) else text


def parse_header(run_id: str, text: str) -> PayloadHeader | None:
    """Return the header of a message of this run; None for any other text."""
    parts = text.split(" ", 5)
    if len(parts) < 6 or parts[0] != _FORMAT or parts[1] != run_id:  # six: the header ends in a space
        return None
    try:
        return PayloadHeader(int(parts[2]), int(parts[3]), int(parts[4]))
    except ValueError:
        return None  # not a message of a bot

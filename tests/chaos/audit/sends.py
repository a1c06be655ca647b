"""What was sent: each message that some client tried to say, and what became of it.

Knows one send. Must not know receivers.
"""

from dataclasses import dataclass, field


def conversation_name(one: str, other: str) -> str:
    """Return the name of the conversation of two names."""
    return "@" + ",".join(sorted((one, other)))


@dataclass(slots=True)
class TrackedSend:
    """One message by its author and ref, from the first try on."""

    author: str
    ref: str
    room: str
    text: str
    tries: int = 0
    """How often it was written to a connection."""
    acks: int = 0
    """In-order events of our own; exactly one in the end."""
    again: int = 0
    """Repeats marked `again`; at most one for each try after the first."""
    refusals: list[str] = field(default_factory=list)
    seq: int = 0
    acked_at: float = 0.0
    given_up: bool = False
    """Its session ended for good: known not to be acknowledged."""

    @property
    def acknowledged(self) -> bool:
        return bool(self.acks or self.again)

"""Records of sent messages and their acknowledgements."""

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
    """How often it was sent."""
    acks: int = 0
    """Own `message` events in order; exactly one at the end."""
    again: int = 0
    """Events marked `again`; at most one for each try after the first."""
    refusals: list[str] = field(default_factory=list)
    seq: int = 0
    acked_at: float = 0.0
    given_up: bool = False
    """Its session ended for good: it stays unacknowledged."""

    @property
    def acknowledged(self) -> bool:
        return bool(self.acks or self.again)

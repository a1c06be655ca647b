"""The transcript of a play: what was done, what each peer received, and how the state has changed."""

from __future__ import annotations


class Transcript:
    """Lines of text. All bytes for peers are in it, by step and connection."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.muted = False
        self._bytes: dict[int, bytearray] = {}  # by number of connection
        self._state: dict[str, str] = {}

    def write(self, line: str) -> None:
        if not self.muted:
            self.lines.append(line)

    def write_bytes(self, connection: int, data: bytes) -> None:
        """Write bytes for a peer, at the end of the step: the order among peers means nothing."""
        if not self.muted:
            self._bytes.setdefault(connection, bytearray()).extend(data)

    def end_step(self, state: dict[str, str]) -> None:
        """Write what each peer was sent in this step, and what has changed since the last state."""
        for connection, data in sorted(self._bytes.items()):
            lines = data.decode("utf-8", "backslashreplace").split("\n")
            last = lines.pop()
            lines += [f"{last}\\"] * bool(last)  # bytes that do not end with their line
            self.lines += [f"{connection} < {line}" for line in lines]
        self._bytes.clear()
        before, self._state = self._state, state
        for key in sorted(before.keys() | state.keys()):
            value = state.get(key, "gone")
            if before.get(key) != value:
                self.write(f"  {key}: {value}")

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, ""])

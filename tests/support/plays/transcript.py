"""The transcript of a play: what was done, what each peer received, and how the state has changed."""

from __future__ import annotations


class Transcript:
    """Lines of text; bytes are written so that none can be lost or confused."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.muted = False
        self._state: dict[str, str] = {}

    def write(self, line: str) -> None:
        if not self.muted:
            self.lines.append(line)

    def write_bytes(self, head: str, data: bytes) -> None:
        """Write bytes, a line for each of theirs; one that does not end there ends with a backslash."""
        for line in data.decode("utf-8", "backslashreplace").split("\n")[
            : -1 if data[-1:] == b"\n" else None
        ]:
            self.write(f"{head} {line}")
        if data[-1:] != b"\n":
            self.lines[-1] += "\\"

    def write_state(self, state: dict[str, str]) -> None:
        """Write what has changed since the last state."""
        before, self._state = self._state, state
        for key in sorted(before.keys() | state.keys()):
            value = state.get(key, "gone")
            if before.get(key) != value:
                self.write(f"  {key}: {value}")

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, ""])

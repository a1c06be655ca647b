"""Checks every send and every received frame against the guarantees of docs/protocol.md.

Clients feed it each frame; at the end it compares everything with the rooms' logs. It records faults and
continues, so that one run shows all of them. Sans-I/O.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chaos.audit.faults import AuditFault, FaultKind, FaultsFound
from chaos.audit.sends import TrackedSend

Frame = dict[str, Any]
_MAX_FAULTS = 40
_RECENT_EVENTS = 8


def _fields(frame: Frame) -> Frame:
    """Return what must be equal wherever a message is shown."""
    return {name: value for name, value in frame.items() if name not in {"type", "again"}}


class Auditor:
    """The audit of one run; every fault names its `seed`."""

    def __init__(self, seed: object) -> None:
        self.seed = str(seed)
        self.faults: list[AuditFault] = []
        self.counts: Counter[FaultKind] = Counter()
        self.sends: dict[tuple[str, str], TrackedSend] = {}
        self.acknowledged = 0
        self.deliveries = 0
        self.resumed = 0
        self.epoch = ""
        self.heads: dict[str, int] = {}
        """The highest seq shown to any receiver, by room."""
        self.positions: dict[str, dict[str, int]] = {}
        """By receiver and room: the last seq received, or the one of its entry."""
        self.gaps = 0
        self.trimmed: set[str] | None = None
        """Rooms whose log was trimmed, if the server may trim; only these may have gaps."""
        self.lost_opening: Callable[[str, str], bool] = lambda *_: False
        """Whether a proxy acknowledged an `opened` for a receiver and room to the server, and lost it. Only
        then may a conversation go on further behind, as docs/guarantees.md says."""
        self.excused = 0
        """How often one did."""
        self._entries: dict[tuple[str, str], int] = {}  # seq of a receiver's entry
        self._left: dict[tuple[str, str], int] = {}  # the last seq it had when it left
        self._skipped: dict[tuple[str, str], set[int]] = {}
        self._shown: dict[str, dict[int, bytes]] = {}
        self._repeats: dict[tuple[str, int], Frame] = {}  # marked `again` before the event was shown
        self._names: dict[str, str] = {}  # public id -> username
        self._ids: dict[str, str] = {}  # username -> public id now
        self._recent: dict[str, deque[tuple[float, str, str, int]]] = {}
        self._notes: deque[tuple[float, str]] = deque(maxlen=6)
        self._began = time.monotonic()

    # Called by the scenario.

    def note_event(self, what: str) -> None:
        """Record an event that concerns all receivers, to be shown with the faults."""
        self._notes.append((time.monotonic() - self._began, what))

    # Called for senders.

    def sent(self, author: str, ref: str, room: str, text: str) -> None:
        """Record a send, or one more try of it."""
        send = self.sends.get((author, ref))
        if send is None:
            send = self.sends[author, ref] = TrackedSend(author, ref, room, text)
        send.tries += 1

    def refused(self, author: str, frame: Frame, *, explained: bool) -> None:
        """Record an error frame; it is a fault unless `explained`."""
        send = self.sends.get((author, frame.get("ref", "")))
        if send is not None:
            send.refusals.append(str(frame.get("code")))
        if not explained:
            self._record_fault(FaultKind.REFUSED, author, send.room if send else "", 0, str(frame))

    def given_up(self, author: str) -> None:
        """Record the end of a session: its unacknowledged sends stay so."""
        for send in self.sends.values():
            if send.author == author and not send.acknowledged:
                send.given_up = True

    # Called for receivers.

    def welcomed(self, receiver: str, frame: Frame, asked: Mapping[str, int] | None) -> None:
        """Record a `welcome`; `asked` has the seqs sent by a session that must be resumed."""
        epoch = frame["epoch"]
        if self.epoch and epoch != self.epoch:
            self._record_fault(FaultKind.EPOCH, receiver, "", 0, f"it was {self.epoch}, and now is {epoch}")
        self.epoch = epoch
        known = self._ids.get(receiver)
        self._ids[receiver] = frame["id"]
        self._names[frame["id"]] = receiver
        self._remember_event(receiver, "resumed" if frame["resumed"] else "welcome", "", 0)
        if asked is not None and (not frame["resumed"] or frame["id"] != known):
            detail = f"resumed {frame['resumed']}, id {frame['id']}, which was {known}"
            self._record_fault(FaultKind.NOT_RESUMED, receiver, "", 0, detail)
        if not frame["resumed"]:
            self.positions[receiver] = {}
            for room in frame["rooms"]:
                self.entered(receiver, room["room"], room["seq"])
            return
        self.resumed += 1
        self._check_positions(receiver, frame, asked or {})

    def _check_positions(self, receiver: str, frame: Frame, asked: Mapping[str, int]) -> None:
        positions = self.positions.setdefault(receiver, {})
        welcomed_positions = {room["room"]: room["seq"] for room in frame["rooms"]}
        for room, seq in asked.items():
            if welcomed_positions.get(room, -1) != seq and not frame.get("more"):
                detail = f"welcome says {welcomed_positions.get(room, 'nothing')} where {seq} was asked for"
                self._record_fault(FaultKind.WRONG_PLACE, receiver, room, seq, detail)
        for room, seq in welcomed_positions.items():
            if room in positions:
                continue
            if not room.startswith("@"):
                self._record_fault(FaultKind.WRONG_PLACE, receiver, room, seq, "it did not ask for this room")
            self.entered(receiver, room, seq)  # a conversation that was opened while this session was away

    def entered(self, receiver: str, room: str, seq: int) -> None:
        """Record a receiver's position as it enters a room; a repetition must agree."""
        positions = self.positions.setdefault(receiver, {})
        if room in positions:
            if positions[room] != seq:
                detail = f"position {seq} announced, but the last seq was {positions[room]}"
                self._record_fault(FaultKind.WRONG_PLACE, receiver, room, seq, detail)
            return
        positions[room] = seq
        self._remember_event(receiver, "entered", room, seq)
        key = receiver, room
        self._entries[key] = min(seq, self._entries.get(key, seq))
        # A closed conversation has no messages, as each message opens it.
        if room.startswith("@") and seq != (last := self._left.get(key, 0)):
            if seq > last and self.lost_opening(receiver, room):
                self.excused += 1
                return
            self._record_fault(
                FaultKind.WRONG_PLACE, receiver, room, seq, f"the conversation goes on after {last}"
            )

    def left(self, receiver: str, room: str) -> None:
        """Record that a receiver left a room, or that a conversation was closed."""
        seq = self.positions.get(receiver, {}).pop(room, None)
        self._remember_event(receiver, "left", room, seq or 0)
        if seq is not None:
            self._left[receiver, room] = seq

    def gap(self, receiver: str, frame: Frame) -> None:
        """Record a `gap`: allowed only if the server trims, and only right after the last seq."""
        room, first, last = frame["room"], frame["first"], frame["last"]
        self._remember_event(receiver, "gap", room, last)
        expected = self.positions.get(receiver, {}).get(room, -1) + 1
        self.gaps += 1
        if self.trimmed is None or first != expected or last < first:
            self._record_fault(
                FaultKind.GAP, receiver, room, first, f"gap to {last} where {expected} was due"
            )
        if room in self.positions.get(receiver, {}):
            self.positions[receiver][room] = max(last, expected - 1)

    def message(self, receiver: str, frame: Frame, raw: bytes, now: float = 0.0) -> None:
        """Record a `message` frame."""
        room, seq = frame["room"], frame["seq"]
        if frame.get("again"):
            self._check_repeat(receiver, frame, now)
            return
        self.deliveries += 1
        self._remember_event(receiver, "message", room, seq)
        self._check_position(receiver, room, seq)
        shown = self._shown.setdefault(room, {})
        first = shown.get(seq)
        if first is None:
            shown[seq] = raw
            if seq > self.heads.get(room, 0):
                self.heads[room] = seq
            self._check_content(receiver, frame)
            repeat = self._repeats.pop((room, seq), None)
            if repeat is not None:
                self._check_same_fields(receiver, repeat, raw, "again")
        elif first != raw:
            self._record_fault(FaultKind.DIFFERENT, receiver, room, seq, f"{raw!r} here, {first!r} at others")
        if frame["from"] == self._ids.get(receiver):
            self._acknowledge(receiver, frame, now)

    def _check_position(self, receiver: str, room: str, seq: int) -> None:
        positions = self.positions.setdefault(receiver, {})
        last = positions.get(room)
        if last is None:
            self._record_fault(
                FaultKind.NOT_A_MEMBER, receiver, room, seq, "a message of a room it never entered"
            )
            self.entered(receiver, room, seq)
        elif seq == last + 1:
            positions[room] = seq
        elif seq > last:
            self._record_fault(FaultKind.HOLE, receiver, room, seq, f"it follows {last}")
            self._skipped.setdefault((receiver, room), set()).update(range(last + 1, min(seq, last + 10_000)))
            positions[room] = seq
        elif seq in (skipped := self._skipped.get((receiver, room), set())):
            skipped.discard(seq)
            self._record_fault(FaultKind.OUT_OF_ORDER, receiver, room, seq, f"it comes after {last}")
        else:
            self._record_fault(FaultKind.REPEATED, receiver, room, seq, f"it has everything up to {last}")

    def _check_content(self, receiver: str, frame: Frame) -> None:
        """Compare a message, at its first occurrence, with what was sent."""
        room, seq = frame["room"], frame["seq"]
        author = self._names.get(frame["from"])
        if author is None:
            self._record_fault(FaultKind.WRONG_AUTHOR, receiver, room, seq, f"nobody has the id of {frame}")
            return
        if frame["username"] != author or frame["origin"] != "client":
            self._record_fault(FaultKind.WRONG_AUTHOR, receiver, room, seq, f"{author} said {frame}")
        send = self.sends.get((author, frame.get("ref", "")))
        if send is None:
            self._record_fault(FaultKind.FORGED, receiver, room, seq, f"{author} never sent {frame}")
            return
        if send.text != frame["message"]:
            self._record_fault(
                FaultKind.WRONG_TEXT, receiver, room, seq, f"sent was {send.text!r}, shown {frame}"
            )
        if send.room != room.partition("#")[0]:
            self._record_fault(FaultKind.WRONG_ROOM, receiver, room, seq, f"sent to {send.room}: {frame}")
        if send.seq and send.seq != seq:
            self._record_fault(
                FaultKind.STORED_TWICE, receiver, room, seq, f"{author} {send.ref} has seq {send.seq} too"
            )
        send.seq = send.seq or seq

    def _check_same_fields(self, receiver: str, frame: Frame, raw: bytes, where: str) -> None:
        """Compare a frame of the log, or one marked `again`, with the event that receivers were shown."""
        one, other = _fields(frame), _fields(json.loads(raw))
        if one != other:
            detail = f"{where} {one!r}, shown {other!r}"
            self._record_fault(FaultKind.DIFFERENT, receiver, frame["room"], frame["seq"], detail)

    def _acknowledge(self, author: str, frame: Frame, now: float) -> None:
        send = self.sends.get((author, frame.get("ref", "")))
        if send is None:
            return  # reported as forged already
        if not send.acknowledged:
            self.acknowledged += 1
            send.acked_at = now
        send.acks += 1
        if send.acks > 1:
            self._record_fault(FaultKind.ACKED_TWICE, author, frame["room"], frame["seq"], f"{send}")

    def _check_repeat(self, receiver: str, frame: Frame, now: float) -> None:
        room, seq = frame["room"], frame["seq"]
        self._remember_event(receiver, "again", room, seq)
        send = self.sends.get((receiver, frame.get("ref", "")))
        if send is None or frame["from"] != self._ids.get(receiver):
            self._record_fault(
                FaultKind.FORGED, receiver, room, seq, f"`again` for what it never sent: {frame}"
            )
            return
        original = self.shown(room).get(seq)
        if original is None:
            self._repeats.setdefault((room, seq), frame)
        else:
            self._check_same_fields(receiver, frame, original, "again")
        if frame["message"] != send.text:
            self._record_fault(
                FaultKind.WRONG_TEXT, receiver, room, seq, f"sent was {send.text!r}, again {frame}"
            )
        if send.seq and send.seq != seq:
            self._record_fault(
                FaultKind.STORED_TWICE, receiver, room, seq, f"{send.ref} has seq {send.seq} too"
            )
        send.seq = send.seq or seq
        if not send.acknowledged:
            self.acknowledged += 1
            send.acked_at = now
        send.again += 1
        if send.again >= send.tries:
            self._record_fault(FaultKind.ACKED_TWICE, receiver, room, seq, f"{send}")

    # The end.

    def unacknowledged(self) -> int:
        """Return the number of sends without an answer."""
        return sum(not (send.acknowledged or send.given_up) for send in self.sends.values())

    def behind(self, receiver: str) -> list[str]:
        """Return the rooms in which a receiver lags behind the others."""
        return [
            room for room, seq in self.positions.get(receiver, {}).items() if seq < self.heads.get(room, 0)
        ]

    def compare_with_logs(self, logs: Mapping[str, Iterable[Frame]]) -> None:
        """Compare everything with the log of each room, read with `history` when all is quiet."""
        stored: dict[tuple[str, str], tuple[str, int]] = {}
        for room, frames in logs.items():
            self._compare(room, frames, stored)
        for room in self._shown.keys() - logs.keys():
            self._record_fault(
                FaultKind.NOT_IN_LOG, "", room, 0, "messages were shown of a room without a log"
            )
        for (author, ref), send in self.sends.items():
            if send.acknowledged and send.room in (self.trimmed or ()):
                continue
            if send.acknowledged and (author, ref) not in stored:
                self._record_fault(FaultKind.ACKED_LOST, author, send.room, send.seq, f"{send}")
            elif not send.acknowledged and not send.given_up:
                self._record_fault(FaultKind.UNANSWERED, author, send.room, 0, f"{send}")

    def _compare(
        self, room: str, frames: Iterable[Frame], stored: dict[tuple[str, str], tuple[str, int]]
    ) -> None:
        shown = self._shown.get(room, {})
        base = min((seq for (_, name), seq in self._entries.items() if name == room), default=0)
        last, in_log = base, set[int]()
        for frame in frames:
            seq = frame["seq"]
            if self.trimmed is not None and not in_log and seq > base + 1:
                base = last = seq - 1
                self.trimmed.add(room)
            if seq <= base:
                continue  # from before any receiver entered
            if seq != last + 1:
                self._record_fault(FaultKind.LOG_BROKEN, "", room, seq, f"it follows {last} in the log")
            last = seq
            in_log.add(seq)
            author = self._names.get(frame["from"], "")
            key = (author, frame.get("ref", ""))
            if key in stored:
                self._record_fault(FaultKind.STORED_TWICE, author, room, seq, f"also {stored[key]}")
            stored[key] = room, seq
            if seq not in shown:
                self._check_content("", frame)
            else:
                self._check_same_fields("", frame, shown[seq], "in the log")
        for seq in sorted(shown.keys() - in_log):
            if seq > base:
                self._record_fault(FaultKind.NOT_IN_LOG, "", room, seq, f"{shown[seq]!r}")
        for receiver, positions in self.positions.items():
            if room in positions and positions[room] < last:
                count = last - positions[room]
                detail = f"{count} messages are missing, up to {last}"
                self._record_fault(FaultKind.LOST, receiver, room, positions[room] + 1, detail)
            for seq in sorted(self._skipped.get((receiver, room), ()))[:3]:
                self._record_fault(FaultKind.LOST, receiver, room, seq, "it was skipped and never came")

    def shown(self, room: str) -> Mapping[int, bytes]:
        """Return the raw messages shown of a room, by seq."""
        return self._shown.get(room, {})

    def frame(self, room: str, seq: int) -> Frame | None:
        """Return the message shown under a seq; None if there was none."""
        raw = self.shown(room).get(seq)
        return None if raw is None else json.loads(raw)

    def id_of(self, name: str) -> str:
        """Return a user's public id."""
        return self._ids[name]

    def raise_if_faults(self) -> None:
        """Raise `FaultsFound` if there were faults."""
        if self.counts:
            total = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
            raise FaultsFound("\n".join([f"seed {self.seed}: {total}", *map(str, self.faults)]))

    def report_fault(self, kind: FaultKind, receiver: str, detail: str, room: str = "") -> None:
        """Record a fault found outside the auditor."""
        self._record_fault(kind, receiver, room, 0, detail)

    def _remember_event(self, receiver: str, what: str, room: str, seq: int) -> None:
        recent = self._recent.get(receiver)
        if recent is None:
            recent = self._recent[receiver] = deque(maxlen=_RECENT_EVENTS)
        recent.append((time.monotonic() - self._began, what, room, seq))

    def _record_fault(self, kind: FaultKind, receiver: str, room: str, seq: int, detail: str) -> None:
        self.counts[kind] += 1
        if len(self.faults) >= _MAX_FAULTS:
            return
        lines = [(at, f"{what} {where} {n}") for at, what, where, n in self._recent.get(receiver, ())]
        lines += [(at, f"** {what}") for at, what in self._notes]
        recent = [f"{at:9.3f} s  {what}" for at, what in sorted(lines)]
        self.faults.append(AuditFault(kind, receiver, room, seq, detail[:600], self.seed, recent))

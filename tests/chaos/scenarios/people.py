"""Faults with the real `chat_client.Client`, which reconnects by itself and must deliver everything once.

The auditor gets the events that the library returns, not the server's frames.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from chaos import plan
from chaos.actors.load import speaker_messages
from chaos.audit.auditor import Auditor
from chaos.audit.faults import FaultKind
from chaos.audit.sends import conversation_name
from chaos.damage.proxy import ChaosProxy
from chaos.plan import Blow
from chaos.server import ChaosServer
from chaos.stage import ScenarioSize
from chat_client import Back, Client, Overrun
from chat_client.base.backoff import Backoff
from chat_client.connection.pending import Pending
from chat_client.errors import ChatError
from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Closed, Event, Gap, Joined, Left, MessageEvent, Opened

_MAX_PENDING = 100
_UNLIMITED_TRIES = 1 << 20
"""Tries of a send: the client resends on its own."""


class ClientProgram:
    """A client and the thread that reads its events; `lock` protects the auditor."""

    def __init__(self, client: Client, auditor: Auditor, lock: threading.Lock) -> None:
        self.client = client
        self.name = client.username
        self.returns = 0
        self.pending: list[Pending[MessageEvent]] = []
        self._auditor = auditor
        self._lock = lock
        welcome = client.connect()
        with lock:
            auditor.welcomed(self.name, json.loads(encode(welcome)), None)
        self._thread = threading.Thread(target=self._read, name=f"reader {self.name}", daemon=True)
        self._thread.start()

    def say(self, room: str, peer: str, text: str) -> None:
        """Send a message, unless too many are pending."""
        self.pending = [one for one in self.pending if not one.done or one.error is not None]
        if len(self.pending) >= _MAX_PENDING:
            return
        with self._lock:  # the auditor must know it before any receiver
            one = self.client.send(text, room=room or None, to=peer or None)
            target = room or conversation_name(self.name, peer)
            self._auditor.sent(self.name, str(one.command.ref), target, text)
            self._auditor.sends[self.name, str(one.command.ref)].tries = _UNLIMITED_TRIES
        self.pending.append(one)

    def settled(self) -> bool:
        """Return whether all sends are answered and all messages received."""
        with self._lock:
            return all(one.done for one in self.pending) and not self._auditor.behind(self.name)

    def check_answers(self) -> None:
        """Report refused or unanswered sends."""
        for one in self.pending:
            if one.error is not None or not one.done:
                self._auditor.report_fault(FaultKind.REFUSED, self.name, f"{one.command}: {one.error}")

    def end(self) -> None:
        self.client.close()
        self._thread.join(10)

    def _read(self) -> None:
        try:
            for event in self.client:
                with self._lock:
                    self._audit_event(event)
        except ChatError as error:
            with self._lock:
                self._auditor.report_fault(FaultKind.NOT_RESUMED, self.name, f"the session ended: {error!r}")

    def _audit_event(self, event: Event) -> None:
        auditor, name = self._auditor, self.name
        match event:
            case MessageEvent():
                raw = encode(event)
                if event.room.startswith("@") and event.room not in auditor.positions[name]:
                    auditor.entered(name, event.room, 0)  # opened while it was away
                auditor.message(name, json.loads(raw), raw)
            case Joined() | Opened():
                if event.room not in auditor.positions[name]:  # may be repeated
                    auditor.entered(name, event.room, event.seq)
            case Left() | Closed():
                auditor.left(name, event.room)
            case Gap():
                auditor.gap(name, json.loads(encode(event)))
            case Back():
                self.returns += 1
                if not event.resumed:
                    auditor.report_fault(FaultKind.NOT_RESUMED, name, f"{event}")
            case Overrun():
                auditor.report_fault(FaultKind.LOST, name, f"the program was too slow: {event}")
            case _:
                pass


def run(folder: Path, size: ScenarioSize, kills: int) -> dict[str, float]:
    """Run real clients over a bad network while the server is killed. Raises `FaultsFound`."""
    began = time.monotonic()
    auditor, lock = Auditor(size.seed), threading.Lock()
    server = ChaosServer(folder)
    with ExitStack() as stack:
        stack.callback(server.kill)
        proxy = stack.enter_context(ChaosProxy(server.port, size.seed, calm=True, hangs=False))
        people = []
        cast = plan.plan_cast(size.seed, size.receivers, size.senders, size.rooms)
        for name, rooms in cast.rooms.items():
            client = Client(
                name,
                f"127.0.0.1:{proxy.port}",
                rooms=rooms,
                reconnect=True,
                timeout=60,
                backoff=Backoff(0.02, 0.2),
            )
            people.append(ClientProgram(client, auditor, lock))
            stack.callback(people[-1].end)
        send_one_each = _speakers(size, people, cast)
        rng = random.Random(f"{size.seed}/people")
        proxy.calm = False
        for number in range(kills):
            _run_load(send_one_each, lambda: bool(auditor.counts), rng.uniform(0.2, 0.8))
            auditor.note_event(f"kill -9 {number}")
            server.end(Blow.KILL)
            server.start()
        _run_load(send_one_each, lambda: bool(auditor.counts), 0.3)
        proxy.calm = True
        _run_load(lambda: None, lambda: all(person.settled() for person in people), 60)
        _finish(auditor, people)
        figures = {
            "starts": server.starts,
            "clients": len(people),
            "sent": len(auditor.sends),
            "acknowledged": auditor.acknowledged,
            "deliveries": auditor.deliveries,
            "returns": sum(person.returns for person in people),
            "connections": proxy.connections,
            "seconds": round(time.monotonic() - began, 1),
        }
    auditor.raise_if_faults()
    return figures


def _speakers(size: ScenarioSize, people: list[ClientProgram], cast: plan.Cast) -> Callable[[], None]:
    """Return a function that sends one message from each sender."""
    by_name = {person.name: person for person in people}
    speeches = [
        (by_name[name], speaker_messages(f"{size.seed}/{name}", cast.rooms[name], peers, size.text_bytes))
        for name, peers in cast.speakers.items()
    ]

    def send_one_each() -> None:
        for person, speech in speeches:
            person.say(*next(speech))

    return send_one_each


def _run_load(send_one_each: Callable[[], None], until: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        send_one_each()
        time.sleep(0.02)


def _finish(auditor: Auditor, people: list[ClientProgram]) -> None:
    for person in people:
        person.check_answers()
        if not person.settled():
            auditor.report_fault(FaultKind.NOT_QUIET, person.name, f"behind in {auditor.behind(person.name)}")
    readers = {view.room: person for person in people for view in person.client.joined_rooms.values()}
    logs = {
        room: [json.loads(encode(event)) for event in person.client.log(room)]
        for room, person in readers.items()
    }
    auditor.compare_with_logs(logs)

"""A play: some hundreds of random steps on the whole core, and a transcript of all that came of them.

The seed decides everything: steps, ids, secrets, sizes of the server's bounds. There is no real time and no
thread. What a client does depends on what it has received, never on the server's state: so two versions of
the core that behave alike get the same play to the last byte, and the first difference is in the transcript.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from support.core_stage.clock import Clock
from support.plays import adapter, commands, connecting, serving
from support.plays.client import DIALECTS, NAMES, Client
from support.plays.server import Disk, Server
from support.plays.table import STEPS, Turn, some
from support.plays.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from support.plays.connection import Connection

MODULES: Final = (commands, connecting, serving)
"""They fill the table of steps."""
STEP_COUNTS: Final = (60, 120, 200)
FACTORS: Final = (0.0, 0.3, 1.0, 1.0, 3.0)
"""Each play likes some steps more than others, and so gets deeper into some states than an average one."""
NEEDED: Final = frozenset({"come", "commit", "feed", "tick", "end_disk_wait", "direct"})
THEMES: Final[tuple[dict[str, float], ...]] = (
    {},
    {
        "direct": 3,
        "open_conversation": 3,
        "close_conversation": 3,
        "close_both": 3,
        "cut": 3,
        "come": 3,
        "stop_reading": 3,
        "read_some": 3,
        "delay_acknowledgements": 3,
    },
    {"race": 9, "direct": 2, "cut": 2, "come": 3, "close_both": 3, "stop_reading": 2, "read_on": 2},
    {"full_disk": 6, "slow_disk": 4, "unreadable_disk": 4, "end_disk_wait": 4, "direct": 2, "race": 2},
    {"stop_reading": 4, "read_some": 4, "read_on": 3, "say": 3, "join": 4, "leave": 4, "tick": 3, "trim": 3},
    {
        "slow_disk": 4,
        "stop_reading": 4,
        "read_some": 4,
        "read_on": 3,
        "say": 3,
        "direct": 3,
        "trim": 3,
        "end_disk_wait": 2,
        "cut": 3,
        "come": 4,
        "leave": 3,
        "close_conversation": 3,
        "feed": 2,
    },
    {"claim_twice": 6, "come": 4, "cut": 4, "end_ghost": 3, "hello_again": 3, "slow_disk": 3},
    {"crash": 4, "stop_and_start": 4, "come": 4, "direct": 3, "close_conversation": 3, "cut": 2},
    {"leave_for_good": 5, "kick": 5, "start_again": 9, "come": 4, "cut": 4, "direct": 3, "pause": 3},
)
"""What a play is about: factors of some steps. The last one has users that come and go."""
BROKEN: Final = "! the play has failed"
"""What a transcript ends with if the core, or the play itself, has raised what nobody expects."""
RAM: Final = Path("/dev/shm")
"""Data files in memory, where the system has that: plays write all the time."""


def perform(seed: int) -> str:
    """Return the transcript of a play."""
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder, _seeded(seed):
        play = Play(seed, Path(folder))
        with adapter.small(play.small):
            play.run()
        return play.transcript.text


class Play:
    """The clients, the server, and the random choices."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.transcript = Transcript()
        self.clock = Clock()
        self.disk = Disk()
        self.texts = 0
        self.connection_count = 0
        self._folder = folder
        self._rng = rng = random.Random(seed)
        self.small = sorted(name for name in adapter.SMALL if rng.random() < 0.4)
        self._steps = rng.choice(STEP_COUNTS)
        self._weights = self._draw_weights(rng)
        self._commit_chance, self._feed_chance = rng.choice((0.2, 0.6, 0.95)), rng.choice((0.2, 0.6, 0.95))
        self.has_operator = rng.random() < 0.15
        self.limits = serving.draw_limits(rng) if rng.random() < 0.3 else {}
        self.ping_interval = rng.choice((5.0, 30.0))
        self._settings: dict[str, Any] = {
            "patience_s": rng.choice((0.0, 0.1, 2.0)),
            "queue_bytes": some(rng, (1 << 20, 3), (700, 1)),
            "ping_interval": self.ping_interval,
            "stalled_timeout": rng.choice((2.0, 120.0)),
            "resume_hold": some(rng, (300.0, 4), (20.0, 2), (0.0, 0.3)),
        }
        self._path = folder / "data.db" if rng.random() < 0.85 else None
        count, resumable = some(rng, (2, 4), (3, 3), (5, 2)), some(rng, (0.95, 3), (0.3, 1))
        self.clients = [self._draw_client(number, rng, resumable) for number in range(count)]
        self.server = self._start()

    @staticmethod
    def _draw_weights(rng: Random) -> list[float]:
        theme = rng.choice(THEMES)
        weights = []
        for step in STEPS.values():
            factor = rng.choice(FACTORS)
            if step.name in NEEDED:
                factor = max(factor, 0.3)
            weights.append(step.weight * theme.get(step.name, factor))
        return weights

    @staticmethod
    def _draw_client(number: int, rng: Random, resumable: float) -> Client:
        return Client(
            number,
            some(rng, (DIALECTS[0], 12), (DIALECTS[1], 1), (DIALECTS[2], 1)),
            rng.choice(("", "near", "far")),
            resumable=rng.random() < resumable,
            limit=some(rng, (600, 3), (1500, 2), (20_000, 2)),
        )

    # What steps do

    def connect(self, client: Client) -> Connection:
        """Give the client a new connection."""
        self.connection_count += 1
        link = self.server.connect(self.connection_count, client.address_key, client.limit)
        client.attach(link)
        return link

    def say(self, text: str, to: str | None) -> None:
        """Let the operator send a message."""
        if self.server.operator is None:
            self.connection_count += 1
            link = self.server.connect(self.connection_count, "", 1 << 20)
            self.server.operator = self.server.core.start_operator(link, link.outbox)
        self.server.core.say(self.server.operator, text, to)

    def restart(self, *, crash: bool, rng: Random, copied: bool = False) -> None:
        """Start another server on the data of this one; all connections are lost, with what is in flight."""
        server = self.server
        if crash:
            server.close()
        else:
            server.stop()
        for client in self.clients:
            client.ghosts.clear()
            if client.link is not None:
                client.read(
                    client.link.acked + int(rng.random() * (client.link.outbox.sent - client.link.acked))
                )
                client.detach()
        if copied and self._path is not None:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            for file in sorted(self._path.parent.glob("data.db*")):
                shutil.copy(file, folder)
            self._path = folder / "data.db"
        self.disk.restore()
        self.server = self._start()

    def _start(self) -> Server:
        return Server(
            self._path, self.clock, self.disk, self.transcript, self._settings | {"limits": self.limits}
        )

    # The play

    def run(self) -> None:
        transcript = self.transcript
        transcript.write(f"small {self.small}, settings {self._settings}")
        transcript.write(f"clients {[f'{one} {one.dialect} {one.limit}' for one in self.clients]}")
        try:
            for number in range(self._steps):
                self._step(number)
            self._settle()
        except Exception as error:  # noqa: BLE001  it belongs to the transcript; `digests` accepts none
            transcript.write(f"{BROKEN}: {error!r}\n{traceback.format_exc()}")
        finally:
            self.server.close()

    def _step(self, number: int) -> None:
        rng = self._rng
        at = len(self.transcript.lines)
        self.transcript.write("")
        for _ in range(20):
            (step,) = rng.choices(list(STEPS.values()), self._weights)
            done = step.act(Turn(self, rng.choice(self.clients), rng))
            if done is not None:
                break
        else:
            done = "nothing"
        self.transcript.lines[at] = f"= {number} {done}"
        self.server.loop.run()
        if rng.random() < self._commit_chance:
            self.server.commit()
        if rng.random() < self._feed_chance:
            self.server.feed(1000)
        self.end_step()

    def end_step(self) -> None:
        """Let the clients read, and write down what has changed."""
        for client in self.clients:
            for link in (client.link, *client.ghosts):
                if link is not None and link.prompt and link.outbox.reading:
                    link.acked = link.outbox.sent
                    if link is client.link:
                        client.read(link.acked)
        self.transcript.end_step(self.server.snapshot())

    def _settle(self) -> None:
        """Let everybody read all, and come back, and write down what that leads to."""
        self.disk.restore()
        for turn in range(2):
            self.transcript.write(f"= settle {turn}")
            for client in self.clients:
                link = client.link
                if link is None or link.closed:
                    link = self.connect(client)
                    link.feed(connecting.hello(self, client, self._rng))
                link.prompt = link.outbox.reading = True
                link.outbox.take(link.outbox.queued_bytes)
            self.server.loop.run()
            self.server.settle()
            self.server.tick()
            self.end_step()


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let ids and secrets depend on the seed."""
    source = random.Random(f"ids of {seed}")
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-_"

    def token(size: int | None = None) -> str:
        return "".join(source.choices(letters, k=(size or 32) * 4 // 3))

    def digits(size: int | None = None) -> str:
        return f"{source.getrandbits(8 * (size or 32)):0{2 * (size or 32)}x}"

    state = random.getstate()
    random.seed(seed)
    fakes: list[tuple[Any, str, Callable[..., str]]] = [
        (secrets, "token_urlsafe", token),
        (secrets, "token_hex", digits),
    ]
    with contextlib.ExitStack() as stack:
        for module, name, fake in fakes:
            stack.enter_context(patch.object(module, name, fake))
        try:
            yield
        finally:
            random.setstate(state)


assert set(NAMES[:2]) == {"ann", "bob"}  # their look-alikes are in commands.py

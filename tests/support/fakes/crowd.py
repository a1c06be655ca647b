"""Peers of a fan-out, and the loop that it runs in, played by the test."""

from __future__ import annotations

from chat_server.net.fan_out import FanOut
from support.fakes.fake_transport import LoopPlayer
from support.fakes.slow_peer import OUTBOX_BYTES, SlowPeer


class Crowd:
    """Peers that read up to 1000 bytes, and the fan-out to all of them."""

    def __init__(self, count: int, fan: FanOut | None = None, loop: LoopPlayer | None = None) -> None:
        self.peers = [SlowPeer(1000) for _ in range(count)]
        self.loop = loop or LoopPlayer()
        self.fan = fan or FanOut(self.loop, OUTBOX_BYTES)

    def beside(self, count: int) -> Crowd:
        """Return another room of the same server."""
        return Crowd(count, self.fan, self.loop)

    def offer(self, chunk: bytes) -> list[SlowPeer]:
        """Offer `chunk` to all; return those that refused it."""
        refused = self.fan.offer(dict.fromkeys(peer.outbox for peer in self.peers), chunk)
        return [peer for peer in self.peers if peer.outbox in refused]

    def having(self, data: bytes) -> int:
        """Return how many have received exactly `data`."""
        return sum(peer.received == data for peer in self.peers)

    @property
    def sends(self) -> int:
        return sum(len(peer.sent) for peer in self.peers)

    def next_round(self) -> None:
        self.loop.run_timers()
        self.loop.run_callbacks()

    def settle(self) -> None:
        """Run rounds until nobody waits."""
        for _ in range(1000):
            if not self.loop.timers:
                return
            self.next_round()
        raise AssertionError("the fan-out does not come to an end")

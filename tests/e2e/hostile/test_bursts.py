"""Many connections that each do something dear at the same time: others are served in between."""

import signal

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer

OTHER_ADDRESS = {"source": "127.0.0.9"}
EVES = 250


def said_at(peer: NdjsonPeer) -> float:
    """Return when the server stored the peer's own message."""
    return float(peer.expect("message", message="done")["timestamp"])


def test_a_burst_of_questions_blocks_nobody(start_server: StartServer, connect: Connect) -> None:
    # Given hundreds of connections of one address, and one of another
    server = start_server("--limit-loopback")
    eves = [
        connect(server, f"a-rather-long-name-{number:03}", rooms=[f"r{number}"]) for number in range(EVES)
    ]
    good = connect(server, "good", rooms=["haven"], wire=OTHER_ADDRESS)
    good.ask("ping")
    # When each of them has a dear question and a message for the server, and then the other has a message
    server.send_signal(signal.SIGSTOP)
    for number, eve in enumerate(eves):
        eve.send_frame("who")
        eve.send_frame("history", room=f"r{number}")
        eve.send_frame("message", room=f"r{number}", message="done")
    good.send_frame("message", room="haven", message="done")
    server.send_signal(signal.SIGCONT)
    # Then its message is stored long before those of most
    mine = said_at(good)
    assert sum(said_at(eve) > mine for eve in eves) > EVES / 2

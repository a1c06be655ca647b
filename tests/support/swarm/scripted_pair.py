"""Two DirectBots in one conversation, at a scripted server."""

from chat_protocol.commands import Message, Open
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Opened
from chat_swarm.bots.profiles import Direct
from support.swarm.engine_harness import ScriptedServer, ServerConnection, SwarmHarness

ROOM = "@a,b"


def open_pair(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> tuple[list[ServerConnection], list[str], Message]:
    """Return both connections, both usernames, and the first message of the first bot; no other follows."""
    swarm.start_bots(Direct, 2)
    conns = [scripted_server.accept(swarm) for _ in range(2)]
    names = [conn.greet().username for conn in conns]
    for conn in conns:
        ask = conn.expect(Open)
        conn.send(Error(code=ErrorCode.NO_SUCH_USER, message="nobody", ref=ask.ref))
    for conn in conns:
        conn.send(Opened(room=ROOM, peer="other", by="other", seq=0))
    mine = conns[0].expect(Message)
    swarm.process.stop_sending()
    return conns, names, mine

"""Floods of commands: their cost is bounded, and other clients are served."""

import json
from collections import Counter

from e2e.hostile.conftest import Served
from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess, eventually
from support.processes.server_counters import counted, resident_bytes, wait_counted

MIB = 1 << 20
OFF = ("--store", "memory", "--rate-messages", "0", "--rate-bytes", "0", "--log-interval", "0.1")


def lines(kind: str, count: int, **fields: str) -> bytes:
    """Return so many frames, `{}` in their fields replaced by their number."""
    return b"".join(
        json.dumps({"type": kind} | {key: text.format(number) for key, text in fields.items()}).encode()
        + b"\n"
        for number in range(count)
    )


def kinds(peer: NdjsonPeer) -> Counter[str]:
    """Return how often each type of frame came, up to now."""
    return Counter(str(frame.get("code", frame["type"])) for frame in peer.frames_so_far())


def test_a_thousand_questions_in_one_packet(start_server: StartServer, connect: Connect) -> None:
    # Given a server whose lists are short, and a client that sends a thousand queries at once
    server = start_server()
    good, eve = connect(server, "good"), connect(server, "eve")
    for _ in range(5):
        eve.say("something")
    questions = b'{"type":"who"}\n{"type":"history","room":"lobby"}\n{"type":"rooms"}\n' * 333
    eve.send(questions)
    good.say("served")

    # Then each is answered or rate-limited
    answers = kinds(eve)
    assert sum(answers[kind] for kind in ("who", "history", "rooms", "rate_limited")) == 999
    assert answers["who"] > 100


def test_more_than_the_rate_is_refused_and_then_the_end(
    fort: ServerProcess, connect: Connect, served: Served
) -> None:
    # Given a client that sends ten thousand messages at once
    eve = connect(fort, "eve")
    before = counted(fort, "errors", "rate_limited")
    eve.send(lines("message", 10_000, message="{}", room="nowhere"))
    served()

    # Then it gets errors, and after a thousand it is disconnected
    answers = Counter(json.loads(line).get("code", "") for line in eve.read_to_end().splitlines())
    assert answers["not_joined"] + answers["rate_limited"] == 1000
    wait_counted(fort, "closed", "flooding")
    assert counted(fort, "errors", "rate_limited") >= before


def test_two_hundred_pasted_lines(fort: ServerProcess, connect: Connect) -> None:
    # Given two hundred pasted lines in each of the three dialects
    peers = [connect(fort) for _ in range(3)]
    peers[0].hello("paster")
    peers[0].send(lines("message", 200, message="line {}", ref="r{}"))
    peers[1].send(b"".join(b"text line %d\n" % number for number in range(200)))
    peers[2].send(
        b"".join(b'{"username":"paster","message":"object %d"}\n' % number for number in range(200))
    )

    # Then all of them arrive, in order
    for number in range(200):
        assert peers[0].expect("message", ref=f"r{number}")["message"] == f"line {number}"
    for number in range(200):
        while not peers[1].read_line().endswith(b"text line %d" % number):
            pass
        while b'"object %d"' % number not in peers[2].read_line():
            pass


def test_pings_and_pongs_by_the_thousand(fort: ServerProcess, connect: Connect, served: Served) -> None:
    # Given a client that pings without a pause, and sends unsolicited pongs
    eve = connect(fort, "eve")
    before = resident_bytes(fort)
    for part in range(10):
        eve.send(b'{"type":"pong","id":"unasked"}\n' * 1000)
        eve.send(lines("ping", 1000, id=f"{part}-{{}}"))
        for number in range(1000):
            eve.expect("pong", id=f"{part}-{number}")
        served()

    # Then memory does not grow, and its pongs are not measured
    assert resident_bytes(fort) - before < 2 * MIB
    assert eve.ask("rtt")["samples"] == 0


def test_refs_by_the_thousand(start_server: StartServer, connect: Connect) -> None:
    # Given a client that sends forty thousand messages with refs of maximum length
    server = start_server(*OFF, "--memory-messages", "10")
    eve = connect(server, "eve")

    def say(start: int, count: int) -> None:
        for first in range(start, start + count, 500):
            for number in range(first, first + 500):
                eve.send(b'{"type":"message","message":"m","ref":"%064d"}\n' % number)
            eve.expect("message", ref=f"{first + 499:064}")

    say(0, 5000)
    before = resident_bytes(server)
    say(5000, 40_000)

    # Then memory does not grow with them, and the last refs are remembered
    assert resident_bytes(server) - before < 3 * MIB
    eve.send_frame("message", message="m", ref=f"{44_999:064}")
    assert "again" in eve.expect("message", ref=f"{44_999:064}")


def test_rooms_by_the_thousand(fort: ServerProcess, connect: Connect, served: Served) -> None:
    # Given a client that joins one room after another
    eve = connect(fort, "eve")
    eve.send(lines("join", 900, room="cell-{}"))
    served()

    # Then it gets the maximum per session, including the lobby
    answers = kinds(eve)
    assert answers["joined"] == 99
    assert answers["too_many"] + answers["rate_limited"] == 801
    wait_counted(fort, "errors", "too_many", 700)

    # And when it leaves, its empty rooms are removed
    eve.send_frame("quit")
    eve.expect_bye()
    later = connect(fort, "later")
    shown = later.ask("rooms", after="cell")
    assert not [room for room in shown["rooms"] if room["room"].startswith("cell-")]


def test_rooms_of_all_together(start_server: StartServer, connect: Connect) -> None:
    # Given a server with a maximum of ten rooms, and two clients that create as many as they can
    server = start_server(*OFF, "--max-public-rooms", "10")
    ann, eve = connect(server, "ann"), connect(server, "eve")
    ann.send(lines("join", 5, room="ann-{}"))
    assert kinds(ann)["joined"] == 5
    eve.send(lines("join", 20, room="eve-{}"))
    answers = kinds(eve)
    assert (answers["joined"], answers["too_many"]) == (4, 16)
    wait_counted(server, "errors", "too_many", 16)

    # Then existing rooms can be joined, and a removed room makes space for another
    assert ann.ask("join", room="eve-3")["type"] == "joined"
    assert connect(server).expect_refusal("hello", username="cat", rooms=["cat-1"]) == "too_many"
    eve.ask("leave", room="eve-0")
    assert connect(server).hello("cat", rooms=["cat-1"])["rooms"][0]["room"] == "cat-1"


def test_joining_and_leaving_in_a_loop(start_server: StartServer, connect: Connect) -> None:
    # Given a client that joins and leaves rooms five thousand times
    server = start_server(*OFF)
    eve, good = connect(server, "eve"), connect(server, "good", rooms=["haven"])

    def loop(rounds: int, name: str) -> None:
        for part in range(rounds):
            eve.send(
                b"".join(
                    b'{"type":"join","room":"%s-%d-%d"}\n{"type":"leave","room":"%s-%d-%d"}\n'
                    % (name.encode(), part, number, name.encode(), part, number)
                    for number in range(500)
                )
            )
            eve.expect("left", room=f"{name}-{part}-499")
            good.say("served", room="haven")

    loop(7, "cell")
    for one in (good, eve):
        one.send_frame("join", room="later")
    good.expect("presence", room="later")  # so presence of the earlier rooms is no longer pending
    before = resident_bytes(server)
    loop(7, "vault")

    # Then nothing of it remains
    assert resident_bytes(server) - before < 3 * MIB
    shown = {room["room"] for room in good.ask("rooms")["rooms"]}
    assert shown == {"haven", "later", "lobby"}


def test_conversations_by_the_thousand(start_server: StartServer, connect: Connect) -> None:
    # Given a client that opens and closes conversations with all others repeatedly
    server = start_server(*OFF, "--max-conversations", "50")
    crowd = [connect(server, "one") for _ in range(80)]
    eve = connect(server, "eve")
    for _ in range(10):
        for one in crowd:
            eve.send_frame("open", with_=one.username)
    answers = kinds(eve)

    # Then it gets as many as a session may open, and the others may still open theirs
    assert answers["opened"] >= 50
    assert answers["too_many"] == 300
    wait_counted(server, "errors", "too_many", 300)
    assert crowd[-1].ask("open", with_=crowd[-2].username)["type"] == "opened"

    # And opening and closing in a loop keeps nothing
    before = resident_bytes(server)
    for _ in range(20):
        for one in crowd[:50]:
            eve.send_frame("close", with_=one.username)
            eve.send_frame("open", with_=one.username)
        kinds(eve)
    assert resident_bytes(server) - before < 4 * MIB


def test_names_held_by_the_thousand(start_server: StartServer, connect: Connect) -> None:
    # Given a server that holds ten names, and a hundred resumable sessions that lose their connection
    server = start_server(*OFF, "--max-held", "10")
    for number in range(100):
        eve = connect(server)
        eve.send_frame("hello", username=f"held-{number}", resumable=True, rooms=[])
        eve.expect("welcome")
        eve.close()
    wait_counted(server, "closed", "closed_by_peer", 100)

    # Then the last of these names are held, and the others are free again
    good = connect(server)
    assert good.expect_refusal("hello", username="held-99") == "name_taken"

    def free() -> bool:
        good.send_frame("hello", username="held-50")
        return bool(good.next_frame()["type"] == "welcome")

    eventually(free)
    assert [user["username"] for user in good.ask("who")["users"]] == ["held-50"]

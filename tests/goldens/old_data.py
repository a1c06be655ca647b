"""How the old data were made: `PYTHONPATH=tests python -m goldens old-data` with a server of that version.

They are what a server at commit 8f3b51b left when it was stopped in order: a few hundred messages in two
rooms, a conversation that is open and one that is closed, two sessions to resume, and refs. No later version
writes them again: they show that a later version continues data of this one.
"""

import json
import shutil
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess

DATA = Path(__file__).with_name("data") / "old-data"
FACTS = DATA / "facts.json"
FILES = ("greenroom.db", "greenroom.db-index", "greenroom.db-mark")
FLAGS = (
    "--rate-messages",
    "0",
    "--rate-bytes",
    "0",
    "--log-messages",
    "--log-interval",
    "0.5",
    "--node",
    "old-1",
)
LOBBY_MESSAGES = 120
"""Half as many are in the kitchen."""


def make(folder: Path) -> None:
    """Let a server write the data, and copy them to their place."""
    server = ServerProcess(folder, *FLAGS, log_file=True)
    try:
        facts = _play(server)
        server.wait_logged("interval", sessions=0)
        assert server.stop() == 0
    finally:
        server.kill()
    DATA.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(server.data / name, DATA / name)
    shutil.copyfile(server.log_path, DATA / "server.log")
    FACTS.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _play(server: ServerProcess) -> dict[str, Any]:
    with ExitStack() as stack:
        ann, bob, cy = (stack.enter_context(NdjsonPeer(server.port)) for _ in range(3))
        welcomes = [
            peer.ask("hello", username=name, rooms=["lobby", "kitchen"], resumable=name != "cy")
            for peer, name in ((ann, "ann"), (bob, "Bob"), (cy, "cy"))
        ]
        for peer, welcome in zip((ann, bob, cy), welcomes, strict=True):
            peer.id = welcome["id"]
        for number in range(LOBBY_MESSAGES):
            ann.say(f"word {number}", ref=f"a{number}")
            if number % 2:
                bob.say(f"dish {number}\nwith ünïcode", room="kitchen", ref=f"b{number}")
        begun = ann.say("psst", to="Bob", ref="p1")
        bob.say("yes?", to="ann")
        ann.ask("rename", username="Ann-Marie")
        cy.say("between us", to="Bob")
        cy.ask("close", with_="Bob")
        first = ann.ask("history", room="lobby", after=0, limit=3)["messages"]
        pair = ann.ask("history", room=begun["room"])["messages"]
        return {
            "epoch": welcomes[0]["epoch"],
            "ann": {"id": ann.id, "session": welcomes[0]["session"]},
            "bob": {"id": bob.id, "session": welcomes[1]["session"]},
            "first": first,
            "conversation": pair,
        }


def copy(folder: Path) -> Path:
    """Copy the data to a folder of a test; return the data file.

    The mark holds the device and the inode of the data file, in bytes 16 to 31: a copy is another file, so
    that a server would begin a new epoch. They are set to those of the copy, as if it had been written
    there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(DATA / name, folder / name)
    status = (folder / FILES[0]).stat()
    with (folder / FILES[2]).open("r+b") as mark:
        mark.seek(16)
        mark.write(struct.pack("<QQ", status.st_dev, status.st_ino))
    return folder / FILES[0]

"""The library in other programs: the example bot of the docs, and a program patched by gevent."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from chat_client import Client
from chat_protocol.events import MessageEvent

ROOT = Path(__file__).resolve().parents[2]

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys, threading, gevent
from chat_client import Back, Client, quickest
from chat_protocol.events import MessageEvent
assert "gevent" in repr(threading.current_thread().__class__) or monkey.is_module_patched("threading")
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)  # not 0: a loop that never rests starves the thread that resolves names
gevent.spawn(tick)
address = sys.argv[1]
assert quickest([__import__("chat_client").parse_address(address)], 30).rtt_ms is not None
with (
    Client("green-ann", address, rooms=["green"]) as ann,
    Client("green-bob", address, rooms=["green"]) as bob,
):
    jobs = [gevent.spawn(ann.say, str(number), "green") for number in range(50)]
    gevent.joinall(jobs, raise_error=True)
    heard = []
    for event in bob:
        if isinstance(event, MessageEvent):
            heard.append(event.message)
            if len(heard) == 50:
                break
    before = len(ticks)
    for _ in range(1000):
        ann.ping()
        if len(ticks) > before:
            break
    assert len(ticks) > before, "the program stopped while the client waited"
with Client("green-cy", address, rooms=["green"], reconnect=True) as cy:
    cy.cut()
    while not isinstance(event := cy.next_event(30), Back):
        pass
    assert event.resumed and cy.say("again", "green").seq == 51
print(sorted(map(int, heard)) == list(range(50)))
"""


def test_client_works_in_a_program_patched_by_gevent(server: Any, env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, server.address],
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_example_bot_of_the_docs_answers(server: Any, env: dict[str, str]) -> None:
    script = ROOT / "docs" / "examples" / "echo_bot.py"
    assert script.read_text() in (ROOT / "docs" / "client.md").read_text()
    with Client("bot-user", server.address) as client:
        bot = subprocess.Popen([sys.executable, script, server.address], env=env)
        try:
            while "echo" not in [user.username for user in client.who("lobby")]:
                assert bot.poll() is None
            client.say("hello bot")
            for event in client:
                if isinstance(event, MessageEvent) and event.username == "echo":
                    assert event.message == "bot-user said: hello bot"
                    break
        finally:
            bot.kill()
            bot.wait()


def test_client_imports_neither_the_server_nor_gevent() -> None:
    code = (
        "import sys, chat_client.cli, chat_client.terminal.app\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'gevent', 'chat_server'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_subcommands_for_scripts_do_not_import_prompt_toolkit() -> None:
    code = "import sys, chat_client.cli, chat_client.commands.tail\nprint('prompt_toolkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

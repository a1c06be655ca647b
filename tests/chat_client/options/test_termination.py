"""Signals that end a command reach it wherever it waits."""

import signal
import subprocess
import sys

import pytest

WAITING = """
import os, signal, sys, threading, time
from chat_client.options.termination import termination

def send_to_itself():
    # Taken by this thread, it interrupts no read of the main thread, as one that comes just before it.
    read_begins.wait()
    time.sleep(0.1)
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))

termination.install()
read_begins = threading.Event()
threading.Thread(target=send_to_itself, daemon=True).start()
read_begins.set()
try:
    os.read(0, 1)
except KeyboardInterrupt as error:
    print(type(error).__name__)
sys.exit(termination.exit_code(130))
"""


@pytest.mark.parametrize(
    ("number", "code", "error"),
    [
        (signal.SIGHUP, 129, "Terminated"),
        (signal.SIGTERM, 130, "Terminated"),
        (signal.SIGINT, 130, "KeyboardInterrupt"),
    ],
)
def test_signal_that_interrupts_no_system_call_is_handled(
    number: signal.Signals, code: int, error: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(int(number))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.wait(60) == code  # its input is open, and never ends
        assert process.stdout.read() == f"{error}\n"

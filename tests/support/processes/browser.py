"""A real Chromium without a window, driven by its DevTools protocol over a pipe: no port, no driver.

It tells what the page said, which addresses it asked for, and what an expression is there.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,2400",
    "--remote-debugging-pipe",
)
"""`--remote-debugging-pipe`: commands come on descriptor 3, answers go to 4, each ended by a NUL."""


def chromium() -> str:
    """Return the program's path; without one, the test is skipped, or fails where the tools are required."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("GREENROOM_TOOLS") == "required":
        pytest.fail("Chromium is required here, and not installed")
    pytest.skip("Chromium is not installed")


class Browser:
    """One page of a browser; everything it asks of the network and says on its console is kept."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.asked: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, page: Path) -> None:
        self._call("Page.navigate", url=page.as_uri())

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        told = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression holds in the page, and return it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"{expression} did not come true; {self.complaints}"
            time.sleep(0.02)
        return found

    def drag(self, element: str, begin: float, end: float) -> None:
        """Press the mouse over an element, move it and let it go; places are shares of its width."""
        box = f"document.querySelector({json.dumps(element)})"
        self.value(f"{box}.scrollIntoView({{ block: 'center' }})")
        left, top, width, height = self.value(
            f"(() => {{ const box = {box}.getBoundingClientRect();"
            " return [box.left, box.top, box.width, box.height]; })()"
        )
        steps = [("mousePressed", begin), ("mouseMoved", (begin + end) / 2), ("mouseMoved", end)]
        for kind, share in [*steps, ("mouseReleased", end)]:
            place = {"x": left + width * share, "y": top + height / 2}
            self._call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **place)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            some = os.read(self._answers, 1 << 16)
            assert some, "the browser has gone"
            self._buffer += some
        told, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(told)
        return message

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(params["entry"]["text"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose profile is in `folder`, and end it."""
    program = chromium()
    to_it, commands = os.pipe()
    answers, from_it = os.pipe()
    # A shell puts the two ends where the browser looks for them.
    script = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
    process = subprocess.Popen(
        ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(to_it, from_it),
    )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Browser(commands, answers)
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(commands)
        os.close(answers)

"""Headless Chromium, driven by the DevTools protocol over a pipe, without a port or a driver.

Reports console errors, requested URLs and values of expressions.
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

PAGE_TIMEOUT_S = 30.0
CHROMIUM_FLAGS = (
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


def find_chromium() -> str:
    """Return the program's path; if it is missing, skip the test, or fail it where tools are required."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("GREENROOM_TOOLS") == "required":
        pytest.fail("Chromium is required here, and not installed")
    pytest.skip("Chromium is not installed")


class Browser:
    """One page; records its network requests and console errors."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.requested_urls: list[str] = []
        self.console_errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, page: Path) -> None:
        self._call("Page.navigate", url=page.as_uri())

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        reply = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return its value."""
        deadline = time.monotonic() + PAGE_TIMEOUT_S
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression} did not come true; {self.console_errors}"
            time.sleep(0.02)
        return found

    def drag(self, element: str, begin: float, end: float) -> None:
        """Drag the mouse over an element; `begin` and `end` are shares of its width."""
        box = f"document.querySelector({json.dumps(element)})"
        self.evaluate(f"{box}.scrollIntoView({{ block: 'center' }})")
        left, top, width, height = self.evaluate(
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
            message_in = self._next_message()
            if message_in.get("id") == self._number:
                assert "error" not in message_in, message_in
                result: dict[str, Any] = message_in["result"]
                return result
            self._handle_notification(message_in)

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            some = os.read(self._answers, 1 << 16)
            assert some, "the browser has ended"
            self._buffer += some
        frame, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(frame)
        return message

    def _handle_notification(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested_urls.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.console_errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                self.console_errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.console_errors.append(params["entry"]["text"])


@contextmanager
def run_browser(folder: Path) -> Iterator[Browser]:
    """Run a browser with its profile in `folder`."""
    program = find_chromium()
    to_it, commands = os.pipe()
    answers, from_it = os.pipe()
    # A shell moves the two ends to descriptors 3 and 4.
    script = f'exec "$0" "$@" 3<&{to_it} 4>&{from_it}'
    process = subprocess.Popen(
        ["bash", "-c", script, program, *CHROMIUM_FLAGS, f"--user-data-dir={folder}"],
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
        process.wait(PAGE_TIMEOUT_S)
        os.close(commands)
        os.close(answers)

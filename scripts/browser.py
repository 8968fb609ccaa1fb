# SPDX-License-Identifier: GPL-3.0-or-later
"""A Chromium without a window, told what to do by the DevTools protocol: one start, then many looks at pages.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

__all__ = ["BrowserError", "Tab", "browser"]

PATIENCE = 30.0
"""Seconds that an answer may take."""


class BrowserError(Exception):
    """The browser did not start, or refused a command; or a script in it failed."""


class Tab:
    """One page of the browser. Lengths are CSS pixels."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0
        self.console: list[str] = []
        """What the page's scripts and its Content-Security-Policy have complained of since the last `open`."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        # As if it were the window in front, which alone may use the clipboard.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result. Raises BrowserError, and TimeoutError after PATIENCE."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=PATIENCE))
            if message.get("id") == self._last:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, address: str) -> None:
        """Go there, and wait until everything is loaded."""
        self.console.clear()
        failure = self.call("Page.navigate", url=address).get("errorText")
        if failure:
            raise BrowserError(f"{address}: {failure}")
        self.wait_for("document.readyState === 'complete'")

    def look(self, *, width: int, height: int = 900, dark: bool = False, media: str = "", scale: float = 1) -> None:
        """Change the window's size, the scheme of colours, and the medium (`print`)."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def scripts(self, allowed: bool) -> None:
        """Whether the pages that are opened from now on may run scripts."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for. Raises BrowserError when it throws."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script[:80]}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = PATIENCE) -> None:
        """Until the expression is true. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:.0f} s: {condition}")
            time.sleep(0.02)

    def press(self, key: str, number: int) -> None:
        """A key, by its name and its old number, such as Tab and 9 (https://w3c.github.io/uievents/#legacy-key-models)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number, **text)

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of what the window shows, or of the whole page."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(taken["data"])

    def _note(self, message: Mapping[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.console.append(parameters["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append(parameters["exceptionDetails"]["text"])


@contextmanager
def browser(*options: str, program: str = "chromium") -> Iterator[Tab]:
    """A browser with a profile of its own, ended at the end. options: of its command line.

    Raises FileNotFoundError without such a program, BrowserError when it does not come up.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        fixed = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking",
        )  # fmt: skip
        running = subprocess.Popen(
            [program, *fixed, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with connect(_address(running, Path(profile)), max_size=None) as connection:
                yield Tab(connection)
        finally:
            running.terminate()
            running.wait(PATIENCE)


def _address(running: subprocess.Popen[bytes], profile: Path) -> str:
    """Where the browser's page is talked to: it writes its port into its profile."""
    written = profile / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE
    while not (written.exists() and len(written.read_text().split()) == 2):
        if running.poll() is not None or time.monotonic() > end:
            raise BrowserError(f"the browser did not come up (exit status {running.poll()})")
        time.sleep(0.05)
    port = int(written.read_text().split()[0])
    with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
        page = next(each for each in json.load(answer) if each["type"] == "page")
    return str(page["webSocketDebuggerUrl"])

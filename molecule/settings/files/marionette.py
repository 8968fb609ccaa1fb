# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a Thunderbird with --marionette run a script in its own context: ``marionette.py SCRIPT ARGUMENT ...``.

Marionette's messages are JSON with their length in front: [0, number, command, parameters], answered by
[1, number, error, result]. Prints what the script gave to its last argument, a function.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

_PORT = 2828
_STARTS_WITHIN = 60.0  # seconds


class Marionette:
    """One session."""

    def __init__(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", _PORT), timeout=60)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._number = 0
        self._receive()

    def command(self, name: str, **parameters: Any) -> Any:
        """The result of a command; raises RuntimeError with what went wrong."""
        self._number += 1
        text = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        while True:
            answer = self._receive()
            if isinstance(answer, list) and answer[1] == self._number:
                if answer[2]:
                    raise RuntimeError(answer[2])
                return answer[3]

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._exactly(1)
        return json.loads(self._exactly(int(length[:-1])))

    def _exactly(self, length: int) -> bytes:
        text = b""
        while len(text) < length:
            more = self._socket.recv(length - len(text))
            if not more:
                raise ConnectionError("the mail program is gone")
            text += more
        return text


def main() -> None:
    """See above."""
    script, arguments = Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2:]
    session = Marionette()
    session.command("WebDriver:NewSession")
    session.command("Marionette:SetContext", value="chrome")
    session.command("WebDriver:SetTimeouts", script=45_000)
    print(json.dumps(session.command("WebDriver:ExecuteAsyncScript", script=script, args=arguments)["value"]))


if __name__ == "__main__":
    main()

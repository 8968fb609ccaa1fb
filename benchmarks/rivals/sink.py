# SPDX-License-Identifier: GPL-3.0-or-later
"""The next hop of both relays: Postfix's smtp-sink, which takes everything and counts."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time

from benchmarks.rivals.relay import RelayError, free_ports, wait_for_greeting

__all__ = ["Sink", "last_count"]

_COUNT = re.compile(rb"mesg=(\d+)")


def last_count(output: bytes) -> int | None:
    """The newest count of messages in what `smtp-sink -c` printed; None when there is none."""
    counts = _COUNT.findall(output)
    return int(counts[-1]) if counts else None


class Sink:
    """smtp-sink on a free port of loopback; counts messages, and when the last one came."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.messages = 0
        self.last_at = 0.0  # monotonic
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises RelayError when it is not installed or does not start."""
        command = ["smtp-sink", "-c", f"127.0.0.1:{self.port}", "1000"]
        if os.geteuid() == 0:
            command[1:1] = ["-u", "nobody"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        except FileNotFoundError:
            raise RelayError("smtp-sink is not installed: run scripts/test-packages.sh") from None
        if not wait_for_greeting(self.port, self._process, 5.0):
            self.stop()
            raise RelayError("smtp-sink does not answer")
        threading.Thread(target=self._count, args=(self._process,), daemon=True).start()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def wait_for(self, messages: int, seconds: float) -> bool:
        """Wait until so many have come in all; False when they have not within the time."""
        end = time.monotonic() + seconds
        while self.messages < messages:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def settle(self, quiet: float = 0.3) -> None:
        """Wait until nothing has come for so many seconds.

        A generator that stops leaves messages behind that the relay has taken and nobody has counted.
        """
        while time.monotonic() - self.last_at < quiet:
            time.sleep(0.02)

    def _count(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        number, rest = process.stdout.fileno(), b""
        while True:
            try:
                output = os.read(number, 65536)
            except OSError:
                return
            if not output:
                return
            # A line ends with a carriage return; what follows the last one is not whole yet.
            rest = rest[-64:] + output
            whole = rest[: rest.rfind(b"\r") + 1]
            count = last_count(whole)
            if count is not None and count != self.messages:
                self.last_at = time.monotonic()
                self.messages = count
            time.sleep(0.005)  # counted in lots: it prints two lines a message

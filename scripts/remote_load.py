# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs submission_load.py on a lab host, and watches the operator's way in while a firewall changes."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from bench_figures import BenchFailedError
from submission_load import Order, Report

__all__ = ["Doorkeeper", "RemoteLoad", "fresh_ssh", "longest_outage"]

_PROGRAM = Path(__file__).with_name("submission_load.py")
_PLACE = "/run/submission_load.py"


class RemoteLoad:
    """A context in which a host submits mail steadily; ``report`` is there after it. Raises BenchFailedError."""

    def __init__(self, ssh: list[str], host: str, order: Order) -> None:
        self._command = [*ssh, host, f"python3 {_PLACE}"]
        self._copy = [*ssh, host, f"cat > {_PLACE}"]
        self._order = order
        self._process: subprocess.Popen[str] | None = None
        self.report = Report()

    def __enter__(self) -> Self:
        """Start, and wait until the first message was taken everywhere."""
        subprocess.run(self._copy, input=_PROGRAM.read_bytes(), check=True)
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # By standard input, because everybody on the host can read a command line.
        self._process.stdin.write(json.dumps(asdict(self._order)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer != "started\n":
            self._process.communicate()
            raise BenchFailedError(f"the load does not get through before anything is changed: {answer.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and fetch the counts."""
        assert self._process is not None
        answer, _ = self._process.communicate()
        if kind is None:
            if self._process.returncode:
                raise BenchFailedError(f"the load ended with exit status {self._process.returncode}")
            self.report = Report(**json.loads(answer))


def fresh_ssh(ssh: list[str], host: str) -> bool:
    """Whether an operator gets in now, by a connection of its own, within two seconds."""
    alone = ["-o", "ControlPath=none", "-o", "ConnectTimeout=2"]
    try:
        done = subprocess.run([*ssh, *alone, host, "true"], capture_output=True, timeout=4, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def longest_outage(tries: list[tuple[float, float, bool]]) -> float:
    """Seconds from the last way in to the next one, the longest of them; 0 when each try got in.

    A try is when it began, when it ended, and whether it got in. Infinite when the last tries did not get in.
    """
    longest, open_until, shut = 0.0, tries[0][0] if tries else 0.0, False
    for begun, ended, got_in in tries:
        if not got_in:
            shut = True
            continue
        if shut:
            longest = max(longest, ended - open_until)
        open_until, shut = begun, False
    return float("inf") if shut else longest


class Doorkeeper:
    """Tries again and again, in a thread, whether ``knock`` is answered; ``tries`` as of ``longest_outage``."""

    def __init__(self, knock: Callable[[], bool], pause: float = 0.5) -> None:
        self._knock = knock
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.tries: list[tuple[float, float, bool]] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End after one more try."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._pause)
            begun = time.monotonic()
            got_in = self._knock()
            self.tries.append((begun, time.monotonic(), got_in))

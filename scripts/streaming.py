# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs long commands so that a person can watch: output as it comes, and a sign of life where there is none.

Needs nothing but the standard library: `make up` starts before there is a virtual environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ROOT", "Outcome", "Stream", "tool_environment"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit status, seconds, and what it printed (both streams)."""

    status: int
    seconds: float
    output: str


def tool_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for the tools in .venv: found first, unbuffered, with the checkout's ansible.cfg."""
    path = f"{ROOT / '.venv/bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        **(extra or {}),
    }


@dataclass
class Stream:
    """Prints what several commands say without tearing lines apart; says something at least each `heartbeat` s."""

    heartbeat: float = 10.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started: float = field(default_factory=time.monotonic)
    _spoke: float = field(default_factory=time.monotonic)
    _at_line_start: bool = True

    @property
    def elapsed(self) -> float:
        """Seconds since this stream was made."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print one line of our own."""
        with self._lock:
            if not self._at_line_start:
                self._write("\n")
            self._write(f"{text}\n")

    def run(
        self, what: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, quiet: bool = False
    ) -> Outcome:
        """Run `command` in the checkout and pass its output on as it comes; standard input is closed.

        `quiet` keeps the output (it is in the outcome all the same) but not the signs of life.
        """
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=tool_environment(env),
        )
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(what, begun, ended), daemon=True)
        beat.start()
        output = bytearray()
        assert process.stdout is not None
        try:
            with process.stdout as pipe:
                while block := os.read(pipe.fileno(), 65536):
                    output += block
                    if not quiet:
                        with self._lock:
                            self._write(block.decode(errors="replace"))
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            ended.set()
            beat.join()
        return Outcome(status, time.monotonic() - begun, output.decode(errors="replace"))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._at_line_start = text.endswith("\n")
        self._spoke = time.monotonic()

    def _beat(self, what: str, begun: float, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            if time.monotonic() - self._spoke >= self.heartbeat:
                self.say(f"postroad: {what}: still at it after {time.monotonic() - begun:.0f} s")

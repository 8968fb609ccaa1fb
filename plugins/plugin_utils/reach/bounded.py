# SPDX-License-Identifier: GPL-3.0-or-later
"""A command on the controller of which only so much is read, for only so long.

Ansible keeps whatever a host says in memory, without any limit. A vantage may be anybody's machine, so what is at its
other end is no help: the limit has to be here, between ssh and Ansible, which takes this program for ssh.

Runs by itself, too: `bounded.py most seconds command...`. Standard library only.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

__all__ = ["CUT", "launcher", "run"]

#: The exit status of a command that was cut off, which neither ssh nor a shell has a meaning for.
CUT = 251
_NOT_FOUND = 127  # as a shell has it
#: Seconds; who says nothing for so long after the command's end says no more. A shared connection (ControlPersist) of
#: ssh keeps its stderr open for good.
_A_MOMENT = 0.1


def launcher(path: Path, executable: str, *, most: int, within: float) -> str:
    """Write a program to `path` that runs `executable` with its own arguments, bounded; returns its path.

    most: bytes of its output, and of its errors. within: seconds.
    """
    words = [sys.executable, "-I", str(Path(__file__).resolve()), str(most), str(within), executable]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def run(command: Sequence[str], *, most: int, within: float) -> int:
    """Run a command whose input is ours, pass on what it says, and return its exit status.

    It is ended, with CUT and a line on stderr that says why, at more than `most` bytes of output or of errors, and
    after `within` seconds.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            _pass_on(process, most, within)
            return _status(process.wait())
        except _CutError as error:
            _write(2, f"\n{error}\n".encode())
            return CUT
        finally:
            process.kill()


class _CutError(Exception):
    """The command is to be ended; the text says why."""


def _pass_on(process: subprocess.Popen[bytes], most: int, within: float) -> None:
    """Until the command has ended and nothing more comes. Raises _CutError."""
    until = time.monotonic() + within
    passed = {1: 0, 2: 0}
    with selectors.DefaultSelector() as selector:
        for stream, number in ((process.stdout, 1), (process.stderr, 2)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, number)
        while True:
            if time.monotonic() > until:
                raise _CutError(f"it was not done within {within:.0f} seconds")
            ended = process.poll() is not None
            if selector.get_map():
                ready = selector.select(_A_MOMENT)
            else:
                ready = []
                time.sleep(0 if ended else _A_MOMENT)
            if ended and not ready:
                return
            for key, _ in ready:
                piece = os.read(key.fd, 65_536)
                if not piece:
                    selector.unregister(key.fileobj)
                    continue
                passed[key.data] += len(piece)
                if passed[key.data] > most:
                    raise _CutError(f"it said more than {most} bytes")
                _write(key.data, piece)


def _write(number: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(number, piece) :]


def _status(code: int) -> int:
    """As a shell has it: 128 and the signal for a command that was killed."""
    return code if code >= 0 else 128 - code


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(_status(-number))


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    most, within, *command = arguments
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # or it would end us alone, and not the command
    try:
        return run(command, most=int(most), within=float(within))
    except (KeyboardInterrupt, BrokenPipeError):
        # Ansible has been interrupted, and ssh with it, or is gone.
        return _status(-signal.SIGINT)
    except OSError as error:
        _write(2, f"{command[0]}: {error.strerror}\n".encode())
        return _NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

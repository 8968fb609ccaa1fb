# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs, with their last words in the error."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from lab.errors import LabError

__all__ = ["last_line", "run", "succeeds"]


def last_line(text: str) -> str:
    """The last line of ``text`` that is not empty, or a note that there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def run(
    command: Sequence[str],
    *,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Run ``command`` and return its standard output.

    ``environment`` is added to ours, ``timeout`` is in seconds.
    Raises LabError, with the last line of its standard error, when it fails.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**os.environ, **(environment or {})},
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed: run `python -m lab ensure-host`") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"no end after {timeout:.0f} s: {shlex.join(command)}") from None
    if done.returncode != 0:
        message = last_line(done.stderr.decode(errors="replace"))
        raise LabError(f"{shlex.join(command[:4])} ...: {message} (status {done.returncode})")
    return done.stdout.decode(errors="replace")


def succeeds(command: Sequence[str], *, timeout: float | None = None) -> bool:
    """Whether ``command`` ends with status 0; its output is dropped."""
    try:
        run(command, timeout=timeout)
    except LabError:
        return False
    return True

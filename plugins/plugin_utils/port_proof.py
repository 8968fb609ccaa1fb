# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller gets into ports of a host: a new TCP connection to each, all at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["closed_ports", "resolvable"]

SECONDS = 4.0
"""For one attempt: a lost SYN comes again after one second and after three."""
PAUSE = 0.5


def resolvable(name: str) -> bool:
    """Whether the controller's own resolver knows the name; one of an SSH configuration it need not."""
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def closed_ports(address: str, ports: Iterable[int], *, seconds: float) -> dict[int, str]:
    """The ports that no connection could be made to within `seconds`, each with the last reason."""
    deadline = time.monotonic() + seconds
    wanted = sorted(set(ports))
    if not wanted:
        return {}
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        reasons = pool.map(lambda port: _try(address, port, deadline), wanted)
        return {port: reason for port, reason in zip(wanted, reasons, strict=True) if reason}


def _try(address: str, port: int, deadline: float) -> str:
    """Empty when it is open."""
    while True:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((address, port), timeout=max(0.1, min(SECONDS, left))).close()
        except TimeoutError:
            reason = "no answer"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        else:
            return ""
        if time.monotonic() + PAUSE >= deadline:
            return reason
        time.sleep(PAUSE)

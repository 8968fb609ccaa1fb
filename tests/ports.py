# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for servers that a test starts a moment later, or that stay closed."""

from __future__ import annotations

import functools
import itertools
import random
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_port"]

_LOWEST = 10_000  # below are those of well-known services
_ENOUGH = 2_000  # more than a run of all tests takes
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A TCP and UDP port that nothing uses, on no address, and that this process has not been given before.

    It is none of those that the kernel itself gives: such a one may be anybody's outgoing connection by the time the
    server starts, two calls in a row may get the same, and who connects to a closed one may even reach himself. Where
    the kernel gives nearly all, it has to be one of those.

    Raises:
        OSError: there is none.
    """
    ports = _candidates()
    for port in itertools.islice(ports, 1_000):
        if _unused(port):
            return port
    raise OSError("a thousand ports in a row are in use: are servers of earlier runs still there?")


@functools.cache
def _candidates() -> Iterator[int]:
    """All outside of the kernel's range, round and round; where it begins is chance, for runs beside each other."""
    first, last = (int(word) for word in _EPHEMERAL.read_text().split())
    below, above = range(_LOWEST, first), range(last + 1, 65_536)
    chosen = max(below, above, key=len)
    if len(chosen) < _ENOUGH:
        return _of_the_kernel()
    begin = random.SystemRandom().randrange(len(chosen))
    return itertools.cycle([*chosen[begin:], *chosen[:begin]])


def _of_the_kernel() -> Iterator[int]:
    given: set[int] = set()
    while True:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = int(probe.getsockname()[1])
        if port not in given:
            given.add(port)
            yield port


def _unused(port: int) -> bool:
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True

# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets mail programs connect to: handed over by systemd, or bound here."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from relay_agent.config.schema import Listener

__all__ = ["ListenError", "inherited_sockets", "open_listeners"]

_FIRST_FD = 3  # sd_listen_fds(3)
_BACKLOG = 1024


class ListenError(Exception):
    """A listener cannot be opened; the text says which and what to do."""


def inherited_sockets() -> list[socket.socket]:
    """The listening sockets systemd passed to this process (sd_listen_fds(3)), none outside a socket unit.

    The variables are removed, so that no child takes them for its own.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    sockets = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + count)]
    for each in sockets:
        each.setblocking(False)
        os.set_inheritable(each.fileno(), False)
    return sockets


def open_listeners(
    listeners: Sequence[Listener], inherited: Iterable[socket.socket] = ()
) -> list[tuple[Listener, list[socket.socket]]]:
    """A socket or two for each listener: an inherited one that fits, else bound here.

    Inherited sockets that no listener wants are closed. Raises ListenError; nothing stays open then.
    """
    spare = list(inherited)
    opened: list[tuple[Listener, list[socket.socket]]] = []
    try:
        for listener in listeners:
            fitting = [each for each in spare if _fits(each, listener)]
            for each in fitting:
                spare.remove(each)
            opened.append((listener, fitting or _bind(listener)))
    except ListenError:
        for _, sockets in opened:
            for each in sockets:
                each.close()
        raise
    finally:
        for each in spare:
            each.close()
    return opened


def _fits(bound: socket.socket, listener: Listener) -> bool:
    if bound.family not in (socket.AF_INET, socket.AF_INET6) or bound.type != socket.SOCK_STREAM:
        return False
    host, port = bound.getsockname()[:2]
    if port != listener.port:
        return False
    address = ip_address(host)
    if not listener.address:
        return address.is_unspecified
    return address == ip_address(listener.address)


def _bind(listener: Listener) -> list[socket.socket]:
    if listener.address:
        family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        return [_bind_one(family, listener.address, listener.port)]
    # One socket for both families where the host has IPv6, else IPv4 alone. "" is every address.
    if socket.has_dualstack_ipv6():
        return [_bind_one(socket.AF_INET6, "", listener.port, dual=True)]
    return [_bind_one(socket.AF_INET, "", listener.port)]


def _bind_one(family: socket.AddressFamily, address: str, port: int, *, dual: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        hint = ""
        if isinstance(error, PermissionError):
            hint = "; ports below 1024 are opened by systemd (relay-agent.socket) or by root"
        raise ListenError(f"cannot listen on {address or '*'} port {port}: {error.strerror}{hint}") from error
    return bound

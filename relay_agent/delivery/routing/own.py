# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses lead to this relay itself, so that mail does not go in a circle."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from relay_agent.config.schema import Config

__all__ = ["own_addresses"]


def own_addresses(config: Config) -> Callable[[str], bool] | None:
    """Tells whether a connection to an address, at the port of MX hosts, would reach one of our listeners.

    None when none of them has that port: another mail server on this host is not ourselves.
    """
    listening = [listener.address for listener in config.listener if listener.port == config.delivery.smtp_port]
    if not listening:
        return None
    named = {ip_address(address) for address in listening if address}
    everywhere = "" in listening or any(address.is_unspecified for address in named)

    def is_own(address: str) -> bool:
        return ip_address(address) in named or (everywhere and _is_local(address))

    return is_own


@lru_cache(1024)
def _is_local(address: str) -> bool:
    """Whether the address is one of this host's: only those can be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True

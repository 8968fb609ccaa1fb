# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay's TLSA records: DANE-EE(3) SPKI(1) SHA2-256(1), for the present key and the one that comes next.

3 1 1 is the form that RFC 7671 5.1 and RFC 7672 3.1.1 recommend: it holds for a key, not for a certificate, so a
renewal that keeps the key keeps the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relay_agent.config.schema import Listener

__all__ = ["owners", "zone_lines"]


def owners(hostname: str, listeners: Iterable[Listener]) -> list[str]:
    """The names that records are published at, one for each port with TLS (RFC 6698 3); with a dot at the end."""
    ports = sorted({listener.port for listener in listeners if listener.tls != "none"})
    return [f"_{port}._tcp.{hostname.rstrip('.')}." for port in ports]


def zone_lines(owners: Sequence[str], keys: Sequence[str], ttl: int) -> list[str]:
    """The records as a zone file has them. keys: digests in hexadecimal digits."""
    return [f"{owner} {ttl} IN TLSA 3 1 1 {key}" for owner in owners for key in keys]

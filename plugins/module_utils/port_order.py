# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay's ports as a mail program is offered them: first the one that most networks let through.

TLS from the first byte stands before STARTTLS (RFC 8314 3), which a network can take out on the way. Port 443 leads:
it is that of web pages, and `relay-agent probe` recommends it for the same reason. Port 25 is never offered, since
networks that intercept it answer there themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MODES", "Offer", "offers"]

_FIRST = ((443, "implicit"), (465, "implicit"), (587, "starttls"))
_NEVER = 25
# What a listener's mode lets a program choose.
_SECURITY = {"implicit": ("implicit",), "starttls": ("starttls",), "auto": ("implicit", "starttls"), "none": ()}
MODES = tuple(_SECURITY)
"""Every mode of TLS that a listener can have."""


@dataclass(frozen=True)
class Offer:
    """One setting of a mail program. security: `implicit` (TLS from the first byte) or `starttls`."""

    port: int
    security: str


def offers(listeners: Iterable[Mapping[str, Any]]) -> list[Offer]:
    """What a traveller can set, best first, each once.

    listeners: as in the variable `relay_agent_listeners`; only `port` and `tls` are looked at. One that only the host
    itself or a balancer reaches is the caller's to leave out.
    """
    found = {
        Offer(int(listener["port"]), security)
        for listener in listeners
        if int(listener["port"]) != _NEVER
        for security in _SECURITY[str(listener["tls"])]
    }
    return sorted(found, key=_place)


def _place(offer: Offer) -> tuple[int, bool, int]:
    pair = (offer.port, offer.security)
    return (_FIRST.index(pair) if pair in _FIRST else len(_FIRST), offer.security == "starttls", offer.port)

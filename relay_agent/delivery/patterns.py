# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recipient domains an entry of the configuration is for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from relay_agent.delivery.domain import ascii_domain

__all__ = ["in_domains"]


def in_domains(patterns: Iterable[str], domain: str) -> bool:
    """Whether a domain is one of these: itself, below ``*.example.org``, or any at all for ``*``.

    Names are compared as A-labels, without regard to case.
    """
    name = _comparable(domain)
    for pattern in patterns:
        if pattern == "*":
            return True
        if pattern.startswith("*."):
            if name.endswith("." + _comparable(pattern[2:])):
                return True
        elif name == _comparable(pattern):
            return True
    return False


@lru_cache(4096)
def _comparable(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except ValueError:  # an address literal, or nothing that DNS could know
        return domain.lower()

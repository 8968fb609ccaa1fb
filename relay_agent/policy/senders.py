# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses an account may send as (RFC 6409 6.1).

Patterns, as they stand in the list of an account:

- ``alice@example.org``: this address, and with any tag: ``alice+news@example.org``
- ``@example.org`` or ``*@example.org``: every address of the domain; a bare ``example.org`` means the same
- ``sales-*@example.org``: ``*`` stands for any letters of the local part
- ``@*.example.org``: every address of every domain below; ``*``: every address there is
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from relay_agent.delivery.domain import ascii_domain

__all__ = ["AllowedSenders", "address_parts", "allowed_senders", "normalise_pattern"]

_LONGEST = 512  # characters; no address that can be delivered to has as many
_LITERAL = re.compile(r"\[[0-9A-Za-z.:-]+\]")
_UNSAFE_LOCAL = re.compile(r'[\x00-\x20\x7f"(),:;<>@\[\]\\]')


def normalise_pattern(pattern: str) -> str:
    """The one form in which a pattern is kept: ``local@domain``, lower-case, the domain in A-labels; or ``*``.

    Raises ValueError for what is no pattern.
    """
    text = unicodedata.normalize("NFC", pattern.strip())
    if text == "*":
        return text
    local, at, domain = text.rpartition("@")
    if not at and "." not in domain:
        raise ValueError(f"{pattern!r} is no address, @domain or pattern such as *@example.org")
    local = local.lower() or "*"
    below = domain.startswith("*.")
    try:
        if _UNSAFE_LOCAL.search(local) or local.startswith(".") or local.endswith(".") or ".." in local:
            raise ValueError
        domain = domain.lower() if _LITERAL.fullmatch(domain) else ascii_domain(domain.removeprefix("*."))
    except (ValueError, IndexError):
        raise ValueError(f"{pattern!r} is no address, @domain or pattern such as *@example.org") from None
    return f"{local}@{'*.' if below else ''}{domain}"


def address_parts(address: str) -> tuple[str, str] | None:
    """Local part and domain in the form they are compared in; None for what cannot be compared."""
    local, at, domain = address.rpartition("@")
    if not at or not local or len(address) > _LONGEST:
        return None
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    try:
        domain = domain.lower() if domain.startswith("[") else ascii_domain(domain)
    except (ValueError, IndexError):
        return None
    return unicodedata.normalize("NFC", local).lower(), domain


class AllowedSenders:
    """The addresses that fit a list of patterns. patterns: in the form of `normalise_pattern`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._everything = False
        self._by_domain: dict[str, set[str]] = {}
        self._wild: list[tuple[re.Pattern[str], str]] = []
        self.first = ""  # the first that is a whole address, "" when there is none
        for pattern in patterns:
            local, _, domain = pattern.rpartition("@")
            if pattern == "*":
                self._everything = True
            elif "*" in local or domain.startswith("*."):
                self._wild.append((re.compile(".*".join(map(re.escape, local.split("*"))), re.DOTALL), domain))
            else:
                self._by_domain.setdefault(domain, set()).add(local)
                self.first = self.first or pattern

    def permits(self, address: str) -> bool:
        """Whether the address fits; compared without regard to case, quoting of the local part and +tag."""
        if self._everything:
            return True
        parts = address_parts(address)
        if parts is None:
            return False
        local, domain = parts
        base = local.partition("+")[0] or local
        exact = self._by_domain.get(domain, ())
        if local in exact or base in exact:
            return True
        return any(
            (domain.endswith(wanted[1:]) if wanted.startswith("*.") else domain == wanted)
            and (pattern.fullmatch(local) or pattern.fullmatch(base))
            for pattern, wanted in self._wild
        )


@lru_cache(maxsize=4096)
def allowed_senders(patterns: tuple[str, ...]) -> AllowedSenders:
    """As `AllowedSenders`, made once for equal lists."""
    return AllowedSenders(patterns)

# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF policies (RFC 7208): one of our own, and ours put into one that is there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

__all__ = ["SpfError", "default_spf", "merged_spf"]

_LONGEST = 450
"""Octets. RFC 7208 3.4 wants a record to fit an answer of 512 with what is around it."""
_MECHANISM = re.compile(r"[+?~-]?(all|include|a|mx|ptr|ip4|ip6|exists)([:/].*)?", re.IGNORECASE | re.ASCII)
_MODIFIER = re.compile(r"[A-Za-z][A-Za-z0-9._-]*=\S*", re.ASCII)
_ENDINGS = ("+all", "?all", "~all", "-all")


class SpfError(ValueError):
    """A policy that cannot be used or changed; the text says why."""


def default_spf(mechanisms: Iterable[str], ending: str) -> str:
    """A policy of these mechanisms alone. Raises SpfError."""
    if ending not in _ENDINGS:
        raise SpfError(f"{ending!r} is no end of an SPF policy (expected one of {', '.join(_ENDINGS)})")
    wanted = list(mechanisms)
    for each in wanted:
        if not _MECHANISM.fullmatch(each) or re.search(r"[\s\"\\]", each) or not each.isprintable():
            raise SpfError(f"{each!r} is no mechanism of an SPF policy (expected one such as include:example.net)")
    return " ".join(["v=spf1", *wanted, ending])


def merged_spf(policy: str, mechanisms: Iterable[str]) -> str:
    """The policy with what it lacks of the mechanisms, ahead of its `all`; the same when nothing is lacking.

    Raises SpfError for a policy that is broken, would deny what is added, or gets too long.
    """
    terms = policy.split()
    if not terms or terms[0].lower() != "v=spf1":
        raise SpfError(f"{policy!r} is no SPF policy")
    for term in terms[1:]:
        if not _MECHANISM.fullmatch(term) and not _MODIFIER.fullmatch(term):
            raise SpfError(f"{term!r} in it is nothing that SPF knows (RFC 7208 4.6.1): receivers ignore the whole")
    lacking = [each for each in mechanisms if not _has(terms[1:], each)]
    if not lacking:
        return policy
    denied = [term for term in terms[1:] if term[0] in "-~?" and term[1:].lower() in map(str.lower, lacking)]
    if denied:
        raise SpfError(f"{denied[0]} in it comes before what would let the relays pass")
    # Ahead of the first term that decides everything.
    end = next((place for place, term in enumerate(terms) if term.lower().lstrip("+?~-") == "all"), None)
    if end is None:
        end = next((place for place, term in enumerate(terms) if term.lower().startswith("redirect=")), len(terms))
    merged = " ".join([*terms[:end], *lacking, *terms[end:]])
    if len(merged) > _LONGEST:
        raise SpfError(f"with {' '.join(lacking)} it would have {len(merged)} octets: too many for every receiver")
    return merged


def _has(terms: Iterable[str], wanted: str) -> bool:
    """Whether a mechanism that lets something pass is there already, itself or by a network around it."""
    passing = [term.lower().removeprefix("+") for term in terms]
    if wanted.lower() in passing:
        return True
    kind, _, value = wanted.partition(":")
    if kind not in ("ip4", "ip6"):
        return False
    try:
        address = ipaddress.ip_network(value)
        return any(
            address.subnet_of(ipaddress.ip_network(term.partition(":")[2], strict=False))  # type: ignore[arg-type]
            for term in passing
            if term.startswith(f"{kind}:")
        )
    except ValueError:
        return False

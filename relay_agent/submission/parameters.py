# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of MAIL and RCPT: which there are, what they may hold, and what of them the queue keeps.

SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), AUTH (RFC 4954), RET, ENVID, NOTIFY and
ORCPT (RFC 3461), REQUIRETLS (RFC 8689), HOLDFOR and HOLDUNTIL (RFC 4865), MT-PRIORITY (RFC 6710). What is kept
has been checked here and is ASCII, so that it can go into a command to the next server as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from relay_agent.submission.address import PathError, shown

__all__ = ["MailParameters", "Offer", "read_mail_parameters", "read_rcpt_parameters"]

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", re.ASCII)  # RFC 3461 4
_HEX = re.compile(r"\+([0-9A-F]{2})", re.ASCII)
_ATOM = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
_UNITEXT = re.compile(r"[!-*,-<>-\[\]-~\x80-\U0010ffff]+")  # RFC 6533 3, utf-8-addr-unitext
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_PRIORITY = re.compile(r"-?[0-9]", re.ASCII)  # RFC 6710 9
_NOTICES = frozenset({"SUCCESS", "FAILURE", "DELAY"})

_LONGEST_ENVID = 100  # characters, RFC 3461 4.4
_LONGEST_ORCPT = 500  # characters, RFC 3461 4.2


@dataclass(slots=True, frozen=True)
class Offer:
    """What this session takes. size: octets of a message. longest_hold: seconds, 0 for nobody's mail is held.
    now: seconds since the epoch."""

    size: int
    tls: bool
    signed_in: bool
    longest_hold: float
    now: float


@dataclass(slots=True)
class MailParameters:
    """What MAIL asked for. options: what the queue keeps. hold_until: seconds since the epoch, 0 for at once. hold_for:
    seconds, when the sender did not name a time but said for how long."""

    options: dict[str, str]
    utf8: bool = False
    hold_until: float = 0.0
    hold_for: float | None = None


def read_mail_parameters(given: Mapping[str, str], offer: Offer) -> MailParameters:
    """Check the parameters of MAIL. Raises PathError with the reply to send."""
    found = MailParameters({})
    for key, value in given.items():
        if key == "SIZE":
            _check_size(value, offer.size)
        elif key == "AUTH":
            if value != "<>" and not (value and _XTEXT.fullmatch(value)):
                raise PathError("501 5.5.4 AUTH is an address in xtext (RFC 3461 4), or <>")
        elif key in ("HOLDFOR", "HOLDUNTIL"):
            if found.hold_until:
                raise PathError("501 5.5.4 HOLDFOR or HOLDUNTIL, not both")
            found.hold_until = _hold_until(key, value, offer)
            found.hold_for = float(value) if key == "HOLDFOR" else None
        elif key in _KEPT:
            found.options[key] = _KEPT[key](value, offer)
        else:
            raise PathError(f"555 5.5.4 MAIL parameter {shown(key)} is not known here")
    found.utf8 = "SMTPUTF8" in found.options
    return found


def _check_size(value: str, limit: int) -> None:
    if not value.isascii() or not value.isdigit() or len(value) > 20:
        raise PathError("501 5.5.4 SIZE is a number of bytes")
    if int(value) > limit:
        raise PathError(f"552 5.3.4 The message is larger than {limit} bytes")


def _body(value: str, offer: Offer) -> str:
    if value.upper() not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise PathError("501 5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME")
    return value.upper()


def _utf8(value: str, offer: Offer) -> str:
    if value:
        raise PathError("501 5.5.4 SMTPUTF8 takes no value")
    return ""


def _ret(value: str, offer: Offer) -> str:
    if value.upper() not in ("FULL", "HDRS"):
        raise PathError("501 5.5.4 RET is FULL or HDRS")
    return value.upper()


def _envid(value: str, offer: Offer) -> str:
    if not value or len(value) > _LONGEST_ENVID or not _stands_for_printable(value):
        raise PathError(f"501 5.5.4 ENVID is printable ASCII in xtext (RFC 3461 4), up to {_LONGEST_ENVID} characters")
    return value


def _require_tls(value: str, offer: Offer) -> str:
    if value:
        raise PathError("501 5.5.4 REQUIRETLS takes no value")
    if not offer.tls:
        raise PathError("530 5.7.0 REQUIRETLS needs TLS here, too")
    return ""


def _priority(value: str, offer: Offer) -> str:
    if _PRIORITY.fullmatch(value) is None:
        raise PathError("501 5.5.4 MT-PRIORITY is a number from -9 to 9")
    return str(int(value))


_KEPT: dict[str, Callable[[str, Offer], str]] = {
    "BODY": _body,
    "SMTPUTF8": _utf8,
    "RET": _ret,
    "ENVID": _envid,
    "REQUIRETLS": _require_tls,
    "MT-PRIORITY": _priority,
}


def _hold_until(key: str, value: str, offer: Offer) -> float:
    """When a message is to be released (RFC 4865 4), in seconds since the epoch."""
    if not offer.longest_hold:
        raise PathError(f"555 5.5.4 MAIL parameter {shown(key)} is not known here")
    if not offer.signed_in:
        raise PathError(f"530 5.7.0 Sign in first: {key} is for those who have an account")
    if key == "HOLDFOR":
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise PathError("501 5.5.4 HOLDFOR is a number of seconds")
        until = offer.now + int(value)
    else:
        try:
            if _DATE.fullmatch(value) is None:
                raise ValueError
            until = datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError):
            raise PathError("501 5.5.4 HOLDUNTIL is a time as in 2027-01-31T09:00:00Z") from None
    if until > offer.now + offer.longest_hold:
        raise PathError(f"501 5.5.4 A message is held for {offer.longest_hold:.0f} seconds at most")
    return max(until, offer.now)


def read_rcpt_parameters(given: Mapping[str, str], *, utf8: bool) -> dict[str, str]:
    """Check the parameters of RCPT; returns those that the queue keeps. utf8: MAIL had SMTPUTF8.

    Raises PathError with the reply to send.
    """
    kept = {}
    for key, value in given.items():
        if key == "NOTIFY":
            kept[key] = _notify(value)
        elif key == "ORCPT":
            kept[key] = _original_recipient(value, utf8=utf8)
        else:
            raise PathError(f"555 5.5.4 RCPT parameter {shown(key)} is not known here")
    return kept


def _notify(value: str) -> str:
    words = value.upper().split(",")
    if words != ["NEVER"] and (len(words) != len(set(words)) or not _NOTICES.issuperset(words)):
        raise PathError("501 5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY with commas between")
    return ",".join(words)


def _original_recipient(value: str, *, utf8: bool) -> str:
    kind, semicolon, address = value.partition(";")
    if not address.isascii() and utf8 and kind.upper() == "UTF-8" and _UNITEXT.fullmatch(address):
        # The form of RFC 6533 3 that every server with DSN takes.
        address = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address)
    text = f"{kind};{address}"
    if not semicolon or len(text) > _LONGEST_ORCPT or not _ATOM.fullmatch(kind) or not _stands_for_printable(address):
        raise PathError(
            "501 5.5.4 ORCPT is an address type, a semicolon and an address in xtext (RFC 3461 4.2), "
            f"up to {_LONGEST_ORCPT} characters"
        )
    return text


def _stands_for_printable(value: str) -> bool:
    """Whether this is xtext that holds something, all of it printable ASCII."""
    if not value or _XTEXT.fullmatch(value) is None:
        return False
    return all(0x20 <= int(octet, 16) <= 0x7E for octet in _HEX.findall(value))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the argument of MAIL and RCPT: a path in angle brackets, then parameters (RFC 5321 4.1.2)."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

__all__ = ["PathError", "parse_path", "shown"]

# Beyond ASCII: no C1 controls, no line separators, no surrogates, which no address that leaves again may hold.
_BEYOND = r"\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_BEYOND}-]+"
_QUOTED = rf'"(?:[ !#-\[\]-~{_BEYOND}]|\\[ -~])*"'
_LABEL = rf"[A-Za-z0-9{_BEYOND}](?:[A-Za-z0-9_{_BEYOND}-]*[A-Za-z0-9{_BEYOND}])?"
_MAILBOX = re.compile(
    rf"(?P<local>{_ATEXT}(?:\.{_ATEXT})*|{_QUOTED})@(?:(?P<domain>{_LABEL}(?:\.{_LABEL})*)|\[(?P<literal>[0-9A-Za-z:.]+)\])"
)
_PATH = re.compile(r"[ ]?<(?P<path>(?:[^\">\\]|\"(?:[^\"\\]|\\.)*\")*)>(?P<parameters>(?: +\S+)*) *")
_PARAMETER = re.compile(r"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~\x80-\U0010ffff]+))?")
_SOURCE_ROUTE = re.compile(rf"@{_LABEL}(?:\.{_LABEL})*(?:,@{_LABEL}(?:\.{_LABEL})*)*:")

_LONGEST_LOCAL = 64  # octets, RFC 5321 4.5.3.1.1
_LONGEST_SHOWN = 40  # characters of a keyword in a reply
_LONGEST_PATH = 254  # octets, RFC 5321 4.5.3.1.3 less the brackets


class PathError(ValueError):
    """The argument cannot be read; the text is the SMTP reply to give, code and all."""


def shown(keyword: str) -> str:
    """A keyword for a reply, which has 512 octets at most (RFC 5321 4.5.3.1.5)."""
    return keyword if len(keyword) <= _LONGEST_SHOWN else f"{keyword[:_LONGEST_SHOWN]}..."


def parse_path(argument: str, *, keyword: str) -> tuple[str, dict[str, str]]:
    """The address and the parameters of `FROM:<a@b> SIZE=1` or `TO:<a@b>`.

    argument: what followed MAIL or RCPT. keyword: "FROM" or "TO".
    Returns the address without brackets ("" for the null path; a source route is dropped, RFC 5321 F.2)
    and the parameters with upper-case keywords and values as they were sent.
    Raises PathError with the reply to send.
    """
    if argument[: len(keyword) + 1].upper() != f"{keyword}:":
        raise PathError(f"501 5.5.4 Syntax: {keyword}:<address>")
    match = _PATH.fullmatch(argument, len(keyword) + 1)
    if match is None:
        raise PathError(f"501 5.5.4 Syntax: {keyword}:<address>; the address stands in angle brackets")
    parameters: dict[str, str] = {}
    for word in match["parameters"].split():
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise PathError("501 5.5.4 A parameter cannot be read")
        name = parameter["keyword"].upper()
        if name in parameters:
            raise PathError(f"501 5.5.4 Parameter {shown(name)} given twice")
        parameters[name] = parameter["value"] or ""
    return _check_mailbox(match["path"], keyword), parameters


def _check_mailbox(path: str, keyword: str) -> str:
    if not path:
        if keyword == "TO":
            raise PathError("501 5.1.3 A recipient address is missing")
        return ""
    if path.startswith("@"):
        path = _SOURCE_ROUTE.sub("", path, count=1)
    status = "5.1.3" if keyword == "TO" else "5.1.7"
    mailbox = _MAILBOX.fullmatch(path)
    if mailbox is None:
        if "@" not in path:
            raise PathError(f"553 {status} The address needs a domain, as in name@example.org")
        raise PathError(f"553 {status} The address is not a valid mail address")
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
        raise PathError(f"553 {status} The address is longer than {_LONGEST_PATH} octets")
    if len(mailbox["local"].encode("utf-8", "surrogateescape")) > _LONGEST_LOCAL:
        raise PathError(f"553 {status} The part before the @ is longer than {_LONGEST_LOCAL} octets")
    if mailbox["literal"] is not None:
        _check_literal(mailbox["literal"], status)
    elif any(len(label) > 63 for label in mailbox["domain"].split(".")):
        raise PathError(f"553 {status} A part of the domain is longer than 63 characters")
    return path


def _check_literal(literal: str, status: str) -> None:
    try:
        if literal[:5].upper() == "IPV6:":
            IPv6Address(literal[5:])
        else:
            IPv4Address(literal)
    except AddressValueError:
        raise PathError(f"553 {status} The address in square brackets is not an IP address") from None

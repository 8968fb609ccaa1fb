# SPDX-License-Identifier: GPL-3.0-or-later
"""The DKIM-Signature field of a message (RFC 6376 3.5 and 5, RFC 8463). No I/O."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence

from relay_agent.dkim.canonicalise import relaxed_field
from relay_agent.dkim.keys import Key
from relay_agent.message.header import Field

__all__ = ["UnsignableError", "names_to_sign", "sign", "signed_data", "split_fields"]

# Signed as often as they are there and once more: a second From, Subject or whatever a reader shows, put on top by
# somebody on the way, breaks the signature (RFC 6376 8.15).
_ALWAYS = (
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
)
# The same, but only if there is one: gateways and lists add these, with good reason, to messages that have none.
_IF_PRESENT = (
    "Sender",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Autocrypt",
    "Feedback-ID",
)
_KEYS = {name: name.lower().encode() for name in (*_ALWAYS, *_IF_PRESENT)}
_MOST_NAMES = 200  # in one signature; a header that needs more is not a person's letter
_LINE = 72  # characters of a folded line
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")


class UnsignableError(ValueError):
    """This header cannot be signed; the text says why."""


def split_fields(header: bytes) -> list[Field]:
    """The fields of a header whose every line ends with CRLF. Raises UnsignableError for a line that is none."""
    found: list[tuple[bytes, list[bytes]]] = []
    for line in header.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and found:
            found[-1][1].append(line)
        elif line:
            match = _FIELD.match(line)
            if match is None:
                raise UnsignableError("its header has a line that is no field")
            found.append((match[1].lower(), [line]))
    return [Field(name, b"\r\n".join([*lines, b""])) for name, lines in found]


def names_to_sign(fields: Sequence[Field]) -> list[str]:
    """The names for the tag h=. Raises UnsignableError when there are too many."""
    present = Counter(field.name for field in fields)
    names: list[str] = []
    for name in _ALWAYS:
        names += [name] * (present[_KEYS[name]] + 1)
    for name in _IF_PRESENT:
        if count := present[_KEYS[name]]:
            names += [name] * (count + 1)
    if len(names) > _MOST_NAMES:
        raise UnsignableError(f"its header has {len(names)} fields to be signed; at most {_MOST_NAMES} are")
    return names


def signed_data(fields: Sequence[Field], names: Sequence[str], signature: bytes) -> bytes:
    """What the signature is made of (RFC 6376 3.7): the named fields, of several with one name the lowest first
    (5.4.2), then the signature's own field with its b= empty."""
    return _chosen(fields, names) + relaxed_field(signature)


def _chosen(fields: Sequence[Field], names: Sequence[str]) -> bytes:
    left: dict[bytes, list[bytes]] = {}
    for field in fields:
        left.setdefault(field.name, []).append(field.raw)
    keys = (_KEYS.get(name) or name.lower().encode() for name in names)
    return b"".join([relaxed_field(of_name.pop()) + b"\r\n" for key in keys if (of_name := left.get(key))])


def sign(fields: Sequence[Field], body_digest: bytes, keys: Sequence[Key], *, now: int, lifetime: int = 0) -> bytes:
    """The DKIM-Signature fields of a message, one for each key, each line ended by CRLF: to be put on top.

    body_digest: SHA-256 of the body's relaxed form. now: seconds since the epoch. lifetime: seconds until the
    signature says of itself that it is void, 0 for never. Raises UnsignableError.
    """
    names = names_to_sign(fields)
    hashed = base64.b64encode(body_digest).decode("ascii")
    expiry = f" x={now + lifetime};" if lifetime else ""
    chosen = _chosen(fields, names)
    listed = _folded(names)
    signatures = []
    for key in keys:
        field = (
            f"DKIM-Signature: v=1; a={key.algorithm.value}; c=relaxed/relaxed;\r\n\td={key.domain};\r\n"
            f"\ts={key.selector}; t={now};{expiry}\r\n\th={listed};\r\n\tbh={hashed};\r\n\tb="
        ).encode("ascii")
        value = base64.b64encode(key.sign(chosen + relaxed_field(field)))
        pieces = [value[start : start + _LINE] for start in range(0, len(value), _LINE)]
        signatures.append(field + b"\r\n\t ".join(pieces) + b"\r\n")
    return b"".join(signatures)


def _folded(names: Sequence[str]) -> str:
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) > _LINE - 3:
            lines.append(line)
            line = ""
        line += f"{name}:"
    return "\r\n\t ".join([*lines, line]).removesuffix(":")

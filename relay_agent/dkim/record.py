# SPDX-License-Identifier: GPL-3.0-or-later
"""The TXT record that makes a key known (RFC 6376 3.6.1, RFC 8463 4.2), and whether a published one is the key's."""

from __future__ import annotations

import base64
import binascii
import re

from relay_agent.dkim.keys import Key

__all__ = ["RecordError", "check_record", "record_strings", "record_text", "zone_lines"]

_MOST_IN_STRING = 255  # octets of a character-string (RFC 1035 3.3)
_SPACE = re.compile(r"[ \t\r\n]+")


class RecordError(ValueError):
    """A published record is not the one of the key; the text says what is wrong with it."""


def record_text(key: Key) -> str:
    """The record's text, as a provider's web form takes it."""
    return f"v=DKIM1; k={key.algorithm.key_type}; p={key.public()}"


def record_strings(key: Key) -> list[str]:
    """The text in strings that are short enough for DNS; they are put together again without a space."""
    text = record_text(key)
    return [text[start : start + _MOST_IN_STRING] for start in range(0, len(text), _MOST_IN_STRING)]


def zone_lines(key: Key) -> str:
    """The record for a zone file (RFC 1035 5.1)."""
    strings = [f'"{each}"' for each in record_strings(key)]
    if len(strings) == 1:
        return f"{key.name}. IN TXT {strings[0]}"
    return "\n".join([f"{key.name}. IN TXT (", *(f"    {each}" for each in strings), ")"])


def check_record(text: str, key: Key) -> None:
    """Look whether receivers will verify the key's signatures by this record. Raises RecordError."""
    tags = _tags(text)
    if tags.get("v", "DKIM1") != "DKIM1":
        raise RecordError(f"its version is {tags['v']!a} (expected v=DKIM1 at the beginning)")
    if "v" in tags and next(iter(tags)) != "v":
        raise RecordError("v=DKIM1 is not its first tag (RFC 6376 3.6.1)")
    if "p" not in tags:
        raise RecordError("it has no p= (expected the public key)")
    kind = tags.get("k", "rsa")
    if kind != key.algorithm.key_type:
        raise RecordError(f"it is of a key of the kind {kind!a} (expected k={key.algorithm.key_type})")
    published = _SPACE.sub("", tags["p"])
    if not published:
        raise RecordError("its p= is empty, which says that the key is revoked")
    try:
        same = base64.b64decode(published, validate=True) == base64.b64decode(key.public())
    except binascii.Error:
        raise RecordError("its p= is not base64; were a quotation mark or a backslash pasted along?") from None
    if not same:
        raise RecordError("its p= is another key (cut short, or of another selector)")
    if "h" in tags and "sha256" not in _list(tags["h"]):
        raise RecordError("its h= leaves out sha256")
    if not {"*", "email"} & set(_list(tags.get("s", "*"))):
        raise RecordError("its s= leaves out email")
    if "y" in _list(tags.get("t", "")):
        raise RecordError("it has t=y: receivers treat the domain as if it did not sign at all")


def _tags(text: str) -> dict[str, str]:
    """The tags in their order (RFC 6376 3.2)."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not name.strip() and not equals:
            continue
        if not equals:
            raise RecordError(f"{part.strip()[:40]!a} in it is no tag=value")
        if name.strip() in tags:
            raise RecordError(f"it has {name.strip()[:40]!a} twice")
        tags[name.strip()] = value.strip()
    return tags


def _list(value: str) -> list[str]:
    return [each.strip() for each in value.split(":")]

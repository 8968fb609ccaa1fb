# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the mailboxes of a From or Sender field (RFC 5322 3.4, groups in From as of RFC 6854).

Strict where mail programs differ: what two readers might take for two different addresses is refused, never
guessed. Names may be sloppy (dots, raw UTF-8, encoded words); addresses may not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Mailbox", "MailboxError", "parse_mailboxes"]

_MOST = 100  # mailboxes in one field
_LONGEST = 16_384  # characters of a field
_DEEPEST = 10  # comments within comments
_TOKEN = re.compile(
    r"(?P<space>[ \t]+)"
    r'|(?P<quoted>"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[ -~])*")'
    r"|(?P<literal>\[[0-9A-Za-z.:-]+\])"
    r"|(?P<mark>[<>@,:;])"
    r'|(?P<atom>[^\x00-\x20\x7f"(),:;<>@\[\]\\]+)'
)
_DOT_ATOM = re.compile(r"[^.]+(?:\.[^.]+)*")

_Token = tuple[str, str]


class MailboxError(ValueError):
    """The field cannot be read in exactly one way; the text says what is wrong with it."""


@dataclass(slots=True, frozen=True)
class Mailbox:
    """One mailbox. name: what stood before the brackets, as it was written, or "". address: local@domain."""

    name: str
    address: str


def parse_mailboxes(text: str) -> list[Mailbox]:
    """The mailboxes of a field's unfolded text, those within groups included.

    A name that is an address itself, as in ``ceo@a.test <me@b.test>``, counts as a mailbox, too: some programs
    show nothing else. Raises MailboxError.
    """
    if len(text) > _LONGEST:
        raise MailboxError(f"is longer than {_LONGEST} characters")
    tokens = _tokens(text)
    found: list[Mailbox] = []
    words: list[_Token] = []
    in_group = closed = False
    at = 0
    while at < len(tokens):
        kind, value = token = tokens[at]
        at += 1
        if kind != "mark" or value == "@":
            if closed and kind != "space":
                raise MailboxError("has text behind an address")
            words.append(token)
        elif value == "<":
            end = next((place for place in range(at, len(tokens)) if tokens[place] == ("mark", ">")), None)
            if end is None or closed:
                raise MailboxError("has an angle bracket too many")
            found.append(Mailbox("".join(word for _, word in words).strip(), _address(tokens[at:end])))
            if ("mark", "@") in words:
                found.append(Mailbox("", _address(words)))
            words, at, closed = [], end + 1, True
        elif value == ":":
            if in_group or closed or not any(kind != "space" for kind, _ in words) or ("mark", "@") in words:
                raise MailboxError("has a colon where none may be")
            words, in_group = [], True
        elif value in ",;":
            if any(kind != "space" for kind, _ in words):
                found.append(Mailbox("", _address(words)))
            words, closed = [], False
            if value == ";":
                if not in_group:
                    raise MailboxError("has a semicolon where none may be")
                in_group, closed = False, True
        else:
            raise MailboxError("has an angle bracket too many")
    if in_group:
        raise MailboxError("has a group without its end")
    if any(kind != "space" for kind, _ in words):
        found.append(Mailbox("", _address(words)))
    if len(found) > _MOST:
        raise MailboxError(f"has more than {_MOST} addresses")
    return found


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _behind_comment(text, at)
            tokens.append(("space", " "))
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise MailboxError(f"has {text[at]!a} where it may not be")
        assert match.lastgroup is not None
        tokens.append((match.lastgroup, match[0]))
        at = match.end()
    return tokens


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif letter == "(":
            depth += 1
            if depth > _DEEPEST:
                raise MailboxError("has comments within comments")
        elif letter == ")":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    raise MailboxError("has a comment without its end")


def _address(tokens: list[_Token]) -> str:
    """The address that these tokens are; spaces and comments may stand around it, not within."""
    inked = [place for place, (kind, _) in enumerate(tokens) if kind != "space"]
    tokens = tokens[inked[0] : inked[-1] + 1] if inked else []
    kinds = [kind if kind != "mark" else value for kind, value in tokens]
    text = "".join(value for _, value in tokens)
    if len(kinds) != 3 or kinds[0] not in ("atom", "quoted") or kinds[1] != "@" or kinds[2] not in ("atom", "literal"):
        raise MailboxError(f"has {text[:80]!a}, which is no address such as name@example.org")
    for kind, value in (tokens[0], tokens[2]):
        if kind == "atom" and not _DOT_ATOM.fullmatch(value):
            raise MailboxError(f"has {text[:80]!a}, whose dots are in the wrong places")
    # Programs that decode an encoded word within an address read another address than those that do not.
    if "=?" in text:
        raise MailboxError(f"has an encoded word within the address {text[:80]!a} (RFC 2047 5)")
    return text

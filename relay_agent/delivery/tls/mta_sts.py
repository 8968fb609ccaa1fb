# SPDX-License-Identifier: GPL-3.0-or-later
"""MTA-STS (RFC 8461): the record that announces a policy, the policy itself, which hosts it names; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay_agent.delivery.reply import printable
from relay_agent.delivery.tls.policy import Mode

__all__ = ["LONGEST_AGE", "Policy", "PolicyError", "announced_id", "names_host", "parse_policy"]

LONGEST_AGE = 31_557_600  # seconds (RFC 8461 3.2)
_MOST_PATTERNS = 200
_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_AGE = re.compile(r"\d{1,10}", re.ASCII)
_LABELS = re.compile(r"(?:\*\.)?(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


class PolicyError(ValueError):
    """What was fetched is no MTA-STS policy; the text says why."""


@dataclass(slots=True, frozen=True)
class Policy:
    """A policy. max_age: seconds that it may be kept. mx: patterns in lower case."""

    mode: Mode
    max_age: int
    mx: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The policy as it may be published."""
        hosts = (f"mx: {pattern}" for pattern in self.mx)
        return ("version: STSv1", f"mode: {self.mode}", *hosts, f"max_age: {self.max_age}")


def announced_id(texts: Iterable[str]) -> str | None:
    """The policy's id in the TXT records at ``_mta-sts.<domain>``; None when they announce none (RFC 8461 3.1)."""
    records = [text for text in texts if re.match(r"v=STSv1\s*(?:;|$)", text)]
    if len(records) != 1:
        return None
    fields = [part.strip().partition("=") for part in records[0].split(";")[1:]]
    ids = [value.strip() for key, _, value in fields if key.strip() == "id"]
    return ids[0] if len(ids) == 1 and _ID.fullmatch(ids[0]) else None


def parse_policy(content: bytes) -> Policy:
    """The policy in what the web host sent (RFC 8461 3.2). Raises PolicyError."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("it is not text in UTF-8") from None
    values: dict[str, str] = {}
    patterns: list[str] = []
    lines = [line.strip() for line in re.split(r"\r?\n", text)]
    lines = [line for line in lines if line]
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            raise PolicyError(f"a line without a colon: {printable(line, 60)}")
        if key.strip() == "mx":
            patterns.append(_pattern(value.strip()))
        else:
            values.setdefault(key.strip(), value.strip())  # of several the first counts
    if values.get("version") != "STSv1":
        raise PolicyError("it has no version: STSv1")
    try:
        mode = Mode(values.get("mode", ""))
    except ValueError:
        raise PolicyError(f"its mode is {printable(values.get('mode', 'missing'), 40)}") from None
    if not _AGE.fullmatch(values.get("max_age", "")):
        raise PolicyError("it has no max_age in seconds")
    if mode is not Mode.NONE and not patterns:
        raise PolicyError("it names no mx")
    if len(patterns) > _MOST_PATTERNS:
        raise PolicyError(f"it names more than {_MOST_PATTERNS} mx")
    return Policy(mode, min(int(values["max_age"]), LONGEST_AGE), tuple(patterns))


def _pattern(value: str) -> str:
    pattern = value.lower().rstrip(".")
    if len(pattern) > 255 or not _LABELS.fullmatch(pattern):
        raise PolicyError(f"its mx {printable(value, 60)} is not the name of a host")
    return pattern


def names_host(policy: Policy, host: str) -> bool:
    """Whether a pattern names this mail host: a star is exactly one label (RFC 8461 4.1)."""
    name = host.lower().rstrip(".")
    parent = name.partition(".")[2]
    return any(
        pattern == name or (pattern.startswith("*.") and bool(parent) and pattern[2:] == parent)
        for pattern in policy.mx
    )

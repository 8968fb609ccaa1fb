# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs what a worker takes in and what it writes itself, by the domain of the header's From."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from relay_agent.config.schema import Dkim
from relay_agent.delivery.domain import ascii_domain
from relay_agent.dkim.places import key_files
from relay_agent.message.header import Field
from relay_agent.message.mailbox import MailboxError, parse_mailboxes
from relay_agent.observability.log import EventLog
from relay_agent.queue.body import FileBody, MemoryBody
from relay_agent.queue.model import Body

if TYPE_CHECKING:
    from relay_agent.dkim.keys import Key

__all__ = ["Signer", "keys_by_domain"]

_SMALL = 65_536  # octets that are signed on the event loop; hashing more would keep others waiting
_BLOCK = 262_144
_LONGEST_HEADER = 1_048_576


class Signer:
    """A worker's keys, and what it does with them. The keys change by `reload` while mail is signed.

    `counts` has "signed" and "unsigned": messages of domains with keys that got a signature, or could not get one.
    """

    def __init__(self, config: Dkim, events: EventLog) -> None:
        self.counts: Counter[str] = Counter()
        self._config = config
        self._events = events
        self._keys: dict[str, tuple[Key, ...]] = {}

    def reload(self) -> None:
        """Read the keys anew. Blocks on the disk. Raises DkimError; the keys stay as they were then."""
        if not key_files(self._config):
            self._keys = {}
            return
        from relay_agent.dkim.store import load_keys  # it needs cryptography: only where there are keys

        self._keys = keys_by_domain(load_keys(self._config), self._config)

    @property
    def active(self) -> bool:
        """Whether anything is signed at all."""
        return bool(self._keys)

    def keys_for(self, domain: str) -> tuple[Key, ...]:
        """What signs mail whose From has this domain (lower-case A-labels): its own keys or, if the configuration
        lets them, those of the nearest domain above, which is aligned for DMARC (RFC 7489 3.1.1) all the same."""
        while domain:
            if keys := self._keys.get(domain):
                return keys
            domain = domain.partition(".")[2] if self._config.subdomains else ""
        return ()

    async def signed(self, body: Body, queue_id: str) -> Body:
        """The content with its signatures on top; as it is where no key applies.

        What is large is read and hashed in a thread, block by block; what is small is done before this returns to
        the event loop. Raises OSError when the content cannot be read.
        """
        if not self._keys:
            return body
        small = body.size <= _SMALL
        signatures, problem = self._sign(body) if small else await asyncio.to_thread(self._sign, body)
        if problem:
            self.counts["unsigned"] += 1
            self._events.event("not_signed", level="warning", queue_id=queue_id, reason=problem)
        if not signatures:
            return body
        self.counts["signed"] += 1
        if isinstance(body, FileBody):
            body.prefix = signatures + body.prefix
            body.size += len(signatures)
            return body
        return MemoryBody(signatures + body.read())

    def _sign(self, body: Body) -> tuple[bytes, str]:
        """The signatures, b"" for none, and why a message that might have had some has none."""
        from relay_agent.dkim.canonicalise import RelaxedBody
        from relay_agent.dkim.sign import UnsignableError, sign, split_fields

        blocks = iter(body.blocks(_BLOCK))
        header, rest = _header(blocks)
        try:
            fields = split_fields(header)
            keys = self.keys_for(_author_domain(fields))
            if not keys:
                return b"", ""
            digest = hashlib.sha256()
            relaxed = RelaxedBody(digest.update)
            relaxed.update(rest)
            for block in blocks:
                relaxed.update(block)
            relaxed.finish()
            lifetime = int(self._config.expire_after)
            return sign(fields, digest.digest(), keys, now=int(time.time()), lifetime=lifetime), ""
        except UnsignableError as error:
            return b"", str(error)


def keys_by_domain(keys: Iterable[Key], config: Dkim) -> dict[str, tuple[Key, ...]]:
    """The keys that each domain signs with: of each algorithm the one that the configuration names, else the one that
    became active last; RSA, which every receiver knows, comes first."""
    from relay_agent.dkim.keys import Algorithm, KeyState

    signing = {domain.lower() for domain in config.domains}
    chosen: dict[tuple[str, Algorithm], Key] = {}
    for key in keys:
        if key.state is not KeyState.ACTIVE or (signing and key.domain not in signing):
            continue
        other = chosen.get((key.domain, key.algorithm))
        if other is None or (not other.given and _moment(key) > _moment(other)):
            chosen[key.domain, key.algorithm] = key
    domains: dict[str, tuple[Key, ...]] = {}
    for algorithm in Algorithm:
        for (domain, which), key in chosen.items():
            if which is algorithm:
                domains[domain] = (*domains.get(domain, ()), key)
    return domains


def _moment(key: Key) -> float:
    return key.since.timestamp() if key.since is not None else 0.0


def _header(blocks: Iterator[bytes]) -> tuple[bytes, bytes]:
    """The header, with the CRLF of its last line, and what of the body has been read with it."""
    head = b""
    for block in blocks:
        head += block
        if head.startswith(b"\r\n"):
            return b"", head[2:]
        end = head.find(b"\r\n\r\n", max(0, len(head) - len(block) - 3))
        if end >= 0:
            return head[: end + 2], head[end + 4 :]
        if len(head) > _LONGEST_HEADER:
            break
    return head, b""


def _author_domain(fields: Sequence[Field]) -> str:
    """The domain of From's first address, in lower-case A-labels; "" for one that no key can be of (an address
    literal). Raises UnsignableError when From can be read in more ways than one: a signature would vouch for it."""
    from relay_agent.dkim.sign import UnsignableError

    authors = [field for field in fields if field.name == b"from"]
    if len(authors) != 1:
        raise UnsignableError(f"it has {len(authors)} From lines (expected one)")
    try:
        mailboxes = parse_mailboxes(authors[0].value().decode())
    except (MailboxError, UnicodeDecodeError):
        raise UnsignableError("its From line cannot be read in exactly one way") from None
    if not mailboxes:
        return ""
    try:
        return ascii_domain(mailboxes[0].address.rpartition("@")[2])
    except ValueError:
        return ""

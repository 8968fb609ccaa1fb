# SPDX-License-Identifier: GPL-3.0-or-later
"""What all sessions of a worker share, and the promise behind the 250."""

from __future__ import annotations

import secrets
import ssl
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from relay_agent.accounts.scram import ScramKeys, decoy_scram, parse_scram
from relay_agent.accounts.store import Account, normalise_name
from relay_agent.accounts.verifier import Verifier
from relay_agent.config.schema import Config, OAuth
from relay_agent.delivery.calling import Call
from relay_agent.delivery.client import Timeouts
from relay_agent.dkim.signer import Signer
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog
from relay_agent.policy.guessing import Guard
from relay_agent.policy.quota import Quotas
from relay_agent.queue.model import Message, QueueStore
from relay_agent.submission import bearer
from relay_agent.submission.limits import Sessions
from relay_agent.submission.sign_in import MECHANISMS
from relay_agent.submission.statement import signed_statement

if TYPE_CHECKING:
    from relay_agent.oauth.tokens import TokenChecker
    from relay_agent.suppression.desk import SuppressionDesk

__all__ = ["Carrier", "SubmissionService"]

_STATEMENT_SECONDS = 3600.0


class Sites(Protocol):
    """The mail that waits for sites to call in, wherever on this host it is; see `relay_agent.supervisor.sites`."""

    def wait(self, account: str) -> float: ...

    async def count(self, call: Call) -> dict[int, int]: ...

    async def called(self, call: Call) -> int: ...

    async def collect(self, store: int, call: Call, line: str, host: str, peer: str) -> tuple[int, bool]: ...


class Carrier(Protocol):
    """Takes over a message that is safe in the queue."""

    def submit(self, message: Message) -> None: ...


@dataclass
class SubmissionService:
    """The worker's parts as a session sees them. `config` and `tls_context` change on a reload."""

    config: Config
    store: QueueStore
    carrier: Carrier
    verifier: Verifier
    events: EventLog
    tls_context: ssl.SSLContext | None
    sessions: Sessions = field(default_factory=Sessions)
    counters: Counter[str] = field(default_factory=Counter)
    quotas: Quotas = field(default_factory=Quotas)
    guard: Guard = field(default_factory=Guard)
    signer: Signer | None = None
    sites: Sites | None = None
    site_timeouts: Timeouts = field(default_factory=Timeouts)
    suppression: SuppressionDesk | None = None
    _secret: bytes | None = None
    _tokens: tuple[OAuth, TokenChecker] | None = None
    _statement: tuple[ssl.SSLContext | None, float, str] = (None, 0.0, "")

    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that can be used now, best first."""
        scram = ("SCRAM-SHA-256",) if self.verifier.scram_ready else ()
        tokens = self.tokens()
        if tokens is None:
            return (*scram, *MECHANISMS)
        tokens.keys.prefetch()
        return (*scram, *bearer.MECHANISMS, *MECHANISMS)

    def tokens(self) -> TokenChecker | None:
        """What checks access tokens, None without `[oauth]`."""
        config = self.config.oauth
        if config is None:
            self._tokens = None
        elif self._tokens is None or self._tokens[0] != config:
            # Its library takes 60 ms to load: only where it is used.
            from relay_agent.oauth.tokens import TokenChecker

            self._tokens = (config, TokenChecker(config))
        return self._tokens[1] if self._tokens is not None else None

    def scram_keys(self, name: str) -> tuple[Account | None, ScramKeys]:
        """Account and keys of a name; None and keys that nothing fits when there is no such account."""
        try:
            name = normalise_name(name)
        except ValueError:
            return None, decoy_scram(name, self._decoy_secret())
        account = self.verifier.account(name)
        if account is None or not account.scram:
            return None, decoy_scram(name, self._decoy_secret())
        return account, parse_scram(account.scram)

    def statement(self) -> str:
        """What XRELAY answers, made anew each hour and for each certificate; empty without one. Blocks on the disk.

        Raises OSError, ValueError and TypeError for a key that cannot be read or cannot sign.
        """
        text = self.known_statement()
        if not text:
            now = time.time()
            text = signed_statement(self.config, now)
            self._statement = (self.tls_context, now, text)
        return text

    def known_statement(self) -> str:
        """The statement as it was made last, "" when it is time for another: for who must not block."""
        context, made, text = self._statement
        current = context is self.tls_context and 0 <= time.time() - made < _STATEMENT_SECONDS
        return text if current else ""

    def _decoy_secret(self) -> bytes:
        """Derived from the TLS key: equal in all workers and after a restart, and nobody else knows it."""
        if self._secret is None:
            key = b""
            if self.config.tls is not None:
                with suppress(OSError):
                    key = self.config.tls.key.read_bytes()
            self._secret = blake2b(key or secrets.token_bytes(32), digest_size=32, person=b"postroad-scram").digest()
        return self._secret

    async def accept(self, message: Message) -> None:
        """Keep a message; when this returns it is synced to disk and on its way, and may be answered with 250.

        Raises QueueFullError when the disk refuses it.
        """
        begun = time.monotonic()
        await self.store.store(message)
        measured.COMMIT_SECONDS.observe(time.monotonic() - begun)
        measured.MESSAGE_BYTES.observe(message.body.size)
        measured.ACCEPTED.add()
        measured.ACCEPTED_RECIPIENTS.add(len(message.recipients))
        self.counters["accepted"] += 1
        self.counters["accepted_bytes"] += message.body.size
        self.carrier.submit(message)
        self.counters["commit_microseconds"] += int((time.monotonic() - begun) * 1e6)

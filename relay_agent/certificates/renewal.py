# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at the relay's certificate: a new one when it is time, and the next key's TLSA record well before.

The pair in use stays until the new one has shown itself in a handshake with the relay's own ports. Where TLSA records
are kept, a new key is used only when its record has been visible for its TTL; until then certificates are renewed for
the key that is in use, so neither can hold up the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from relay_agent.config.schema import Listener
from relay_agent.observability.log import EventLog
from relay_agent.whole_file import locked_directory

from . import acme, name_servers
from .chain import Leaf, key_digest, read_leaf
from .handshake import Port, prove, tls_ports
from .journal import Renewals, read_renewals, write_renewals
from .pairs import Pairs
from .problem import CertificateError
from .settings import CertificateSettings, NameServer
from .tlsa import owners

__all__ = ["Agent", "Outcome", "Renewal", "Tools", "renewal_reason"]

_LOCKED_WITHIN = 900.0  # seconds that another renewal may take
_PROVED_WITHIN = 120.0  # seconds from the reload to the last handshake
_CLOCKS_DIFFER = timedelta(minutes=5)


class Agent(Protocol):
    """The agent that is to show the certificate."""

    def running(self) -> bool: ...

    def reload(self) -> None: ...


@dataclass(frozen=True)
class Tools:
    """What reaches beyond this process; tests put others in their place."""

    issue: Callable[[CertificateSettings, str], str] = acme.issue
    publish: Callable[[NameServer, Sequence[str], Sequence[str]], None] = name_servers.publish
    look: Callable[[Sequence[str], Sequence[str]], name_servers.Seen] = name_servers.look
    prove: Callable[[Sequence[Port], str], str] = lambda ports, shown: prove(ports, shown, within=_PROVED_WITHIN)
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Outcome:
    """changed: another certificate is in use. reason: why one was wanted. usable: one that holds is in use.

    problems: what came to nothing, in words; each is tried again at the next look.
    """

    changed: bool
    reason: str
    usable: bool
    problems: tuple[str, ...] = ()


class Renewal:
    """The certificate of one relay. listeners: of the agent's configuration, none before there is one."""

    def __init__(
        self,
        settings: CertificateSettings,
        listeners: Sequence[Listener],
        agent: Agent,
        log: EventLog,
        tools: Tools | None = None,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._agent = agent
        self._log = log
        self._tools = tools or Tools()
        self._pairs = Pairs(settings.directory)
        self._problems: list[str] = []

    def run(self, *, at_once: bool = False) -> Outcome:
        """Do what is due; at_once: renew whether it is or not. Raises OSError and TimeoutError."""
        with locked_directory(self._settings.directory, _LOCKED_WITHIN):
            return self._run(at_once)

    def _run(self, at_once: bool) -> Outcome:
        now, directory = self._tools.clock(), self._settings.directory
        self._problems = []
        renewals = replace(read_renewals(directory) or Renewals(), looked=now)
        reason = renewal_reason(self._pairs, self._settings, renewals, now) or ("it was asked for" if at_once else "")
        changed = False
        if self._pairs.chain():
            renewals = self._announce(renewals)
        if reason:
            try:
                renewals, changed = self._renew(renewals, reason), True
                renewals = self._announce(renewals)
            except CertificateError as error:
                self._problems.append(str(error))
                self._log.event("certificate_renewal_failed", level="error", reason=reason, problem=str(error))
        if self._problems:
            renewals = renewals.failed("; ".join(self._problems), now)
        else:
            renewals = replace(renewals, problem="", failing=0.0)
        write_renewals(directory, renewals)
        return Outcome(changed, reason, self._usable(now), tuple(self._problems))

    def _usable(self, now: float) -> bool:
        try:
            return read_leaf(self._pairs.chain()).ends.timestamp() > now
        except CertificateError:
            return False

    # ---- the next certificate --------------------------------------------------------------------------

    def _renew(self, renewals: Renewals, reason: str) -> Renewals:
        present, following = self._pairs.key(), self._pairs.next_key()
        key = following if self._next_may_be_used(renewals) or not present else present
        chain = self._tools.issue(self._settings, key)
        leaf = read_leaf(chain)
        self._judge(leaf)
        before = self._pairs.put_in_use(chain, key)
        try:
            proved = self._take_up(leaf)
        except CertificateError as error:
            if before is None:
                raise
            raise CertificateError(f"the new certificate does not work: {error}; {self._back_to(before)}") from None
        if key == following:
            self._pairs.next_key_is_used()
        self._pairs.prune()
        self._log.event(
            "certificate_renewed",
            reason=reason,
            ends=leaf.ends.isoformat(),
            issuer=leaf.issuer,
            key="next" if key == following else "kept",
            proved=proved,
        )
        now = self._tools.clock()
        return replace(renewals, renewed=now, issued=leaf.fingerprint, authority=self._settings.acme.directory_url)

    def _next_may_be_used(self, renewals: Renewals) -> bool:
        if not self._settings.tlsa:
            return True
        return renewals.next_ready(self._tools.clock()) == 0

    def _judge(self, leaf: Leaf) -> None:
        now = datetime.fromtimestamp(self._tools.clock(), UTC)
        missing = {name.lower() for name in self._settings.names} - leaf.names
        if missing:
            raise CertificateError(f"the new certificate is not for {', '.join(sorted(missing))}")
        if leaf.ends <= now or leaf.begins > now + _CLOCKS_DIFFER:
            raise CertificateError(
                f"the new certificate holds from {leaf.begins:%Y-%m-%d %H:%M} to {leaf.ends:%Y-%m-%d %H:%M} UTC; "
                "is this host's clock right?"
            )

    def _take_up(self, leaf: Leaf) -> list[int]:
        """Have the agent show it, and look; the ports that did."""
        if not self._agent.running():
            return []
        self._agent.reload()
        ports = tls_ports(self._listeners)
        problem = self._tools.prove(ports, leaf.fingerprint)
        if problem:
            raise CertificateError(problem)
        return [port.port for port in ports]

    def _back_to(self, before: Path) -> str:
        self._pairs.put_back(before)
        self._log.event("certificate_put_back", level="error", version=before.name)
        try:
            self._agent.reload()
        except CertificateError as error:
            return f"the one before is in its place again, but {error}"
        return "the one before is in use again"

    # ---- the next key ----------------------------------------------------------------------------------

    def _announce(self, renewals: Renewals) -> Renewals:
        """See to it that the present key and the next one have TLSA records, and remember since when."""
        following = key_digest(self._pairs.next_key())
        if renewals.next_key != following:
            renewals = replace(renewals, next_key=following, seen=0.0, ttl=0)
        names = owners(self._settings.names[0], self._listeners)
        if not self._settings.tlsa or not names:
            return renewals
        keys = [read_leaf(self._pairs.chain()).key, following]
        server = self._settings.dns
        found = self._tools.look(names, keys)
        if found.missing:
            # Whoever has asked meanwhile remembers that there was none: the wait begins anew.
            renewals = replace(renewals, seen=0.0)
        if found.missing and server is not None:
            try:
                self._tools.publish(server, names, keys)
            except CertificateError as error:
                if str(error) not in self._problems:
                    self._problems.append(str(error))
                self._log.event("certificate_tlsa_not_published", level="error", problem=str(error))
                return renewals
            self._log.event("certificate_tlsa_published", server=server.server, names=names, keys=keys)
            found = self._tools.look(names, keys)
        if found.missing:
            self._log.event("certificate_tlsa_missing", level="warning", problem=found.missing)
            return renewals
        if renewals.seen:
            return renewals
        ttl = max(found.ttl, server.ttl if server is not None else 0)
        return replace(renewals, seen=self._tools.clock(), ttl=ttl)


def renewal_reason(pairs: Pairs, settings: CertificateSettings, renewals: Renewals, now: float) -> str:
    """Why another certificate is wanted; "" when the one in use serves."""
    chain = pairs.chain()
    if not chain:
        return "there is none"
    try:
        leaf = read_leaf(chain)
        if key_digest(pairs.key()) != leaf.key:
            return "the key in use does not belong to it"
    except CertificateError as error:
        return f"what is in use is none: {error}"
    if leaf.names != {name.lower() for name in settings.names}:
        return f"it is for {', '.join(sorted(leaf.names)) or 'no name'}"
    if leaf.fingerprint != renewals.issued or settings.acme.directory_url != renewals.authority:
        return f"it is not from {settings.acme.directory_url}"
    # An authority that issues for days would otherwise be asked at every look.
    left = min(timedelta(days=settings.renew_before), leaf.lifetime / 3)
    if leaf.ends.timestamp() - now < left.total_seconds():
        return f"it ends on {leaf.ends:%Y-%m-%d}"
    return ""

# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at the relay's certificate: a new one when it is time, and the next key's TLSA record well before.

The pair in use stays until the new one has shown itself in a handshake with the relay's own ports. One that does not is
kept, and tried again before the authority is asked for another. On a host that takes no mail there is nothing to shake
hands with: the new pair is put in use, and proved at the first look that finds ports.

Where TLSA records are kept, a new key is used only when its record has been visible for its TTL; until then
certificates are renewed for the key that is in use, so neither can hold up the other.
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
from .issued import Issued, may_ask, order
from .journal import Renewals, read_renewals, write_renewals
from .pairs import Pairs
from .problem import CertificateError
from .settings import CertificateSettings, NameServer
from .tlsa import owners

__all__ = ["Agent", "Outcome", "Renewal", "Tools", "renewal_reason"]

_LOCKED_WITHIN = 900.0  # seconds that another renewal may take
_PROVED_WITHIN = 120.0  # seconds from the reload to the last handshake
_CLOCKS_DIFFER = timedelta(minutes=5)
_DRAINED = "this host is drained, and all its ports are closed"
_STOPPED = "relay-agent.service does not run"


class Agent(Protocol):
    """The agent that is to show the certificate."""

    def running(self) -> bool: ...

    def drained(self) -> bool: ...

    def reload(self) -> None: ...


@dataclass(frozen=True)
class Tools:
    """What reaches beyond this process; tests put others in their place."""

    issue: Callable[[CertificateSettings, str], str] = acme.issue
    publish: Callable[[NameServer, Sequence[str], Sequence[str]], None] = name_servers.publish
    look: Callable[[Sequence[str], Sequence[str]], name_servers.Seen] = name_servers.look
    prove: Callable[[Sequence[Port], str, float], str] = lambda ports, shown, within: prove(ports, shown, within=within)
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Outcome:
    """changed: another certificate is in use. reason: why one was wanted. usable: one that holds is in use.

    problems: what came to nothing, in words; each is tried again at the next look. unproved: why no port has shown the
    one in use yet; "" when all have, or when that is among the problems.
    """

    changed: bool
    reason: str
    usable: bool
    problems: tuple[str, ...] = ()
    unproved: str = ""


class Renewal:
    """The certificate of one relay. listeners: of the agent's configuration, none before there is one.

    within: seconds from a reload until every port has to show a new certificate.
    """

    def __init__(
        self,
        settings: CertificateSettings,
        listeners: Sequence[Listener],
        agent: Agent,
        log: EventLog,
        tools: Tools | None = None,
        *,
        within: float = _PROVED_WITHIN,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._agent = agent
        self._log = log
        self._tools = tools or Tools()
        self._within = within
        self._pairs = Pairs(settings.directory)
        self._issued = Issued(settings.directory)
        self._order = order(settings)
        self._renewals = Renewals()
        self._problems: list[str] = []

    def run(self, *, at_once: bool = False) -> Outcome:
        """Do what is due; at_once: renew whether it is or not. Raises OSError and TimeoutError."""
        with locked_directory(self._settings.directory, _LOCKED_WITHIN):
            return self._run(at_once)

    def _run(self, at_once: bool) -> Outcome:
        now, directory = self._tools.clock(), self._settings.directory
        self._problems = []
        self._renewals = replace(read_renewals(directory) or Renewals(), looked=now)
        due = renewal_reason(self._pairs, self._settings, self._renewals, now)
        reason = due or ("it was asked for" if at_once else "")
        changed = False
        if self._present() is not None:
            self._renewals = self._announce(self._renewals)
        if reason:
            try:
                changed = self._renew(reason, at_once)
                self._renewals = self._announce(self._renewals)
            except CertificateError as error:
                self._problems.append(str(error))
                self._log.event("certificate_renewal_failed", level="error", reason=reason, problem=str(error))
        if self._renewals.unproved and not changed:
            self._prove_again()
        if self._problems:
            self._renewals = self._renewals.failed("; ".join(self._problems), now)
        else:
            self._renewals = replace(self._renewals, problem="", failing=0.0)
        write_renewals(directory, self._renewals)
        unproved = "" if self._problems else self._renewals.unproved
        return Outcome(changed, reason, self._usable(now), tuple(self._problems), unproved)

    def _note(self, **changes: float | str) -> None:
        """Have it in the journal at once: a power cut must not cost a certificate."""
        self._renewals = replace(self._renewals, **changes)  # type: ignore[arg-type]
        write_renewals(self._settings.directory, self._renewals)

    def _present(self) -> Leaf | None:
        """The certificate in use, None where that is none."""
        try:
            return read_leaf(self._pairs.chain())
        except CertificateError:
            return None

    def _usable(self, now: float) -> bool:
        present = self._present()
        return present is not None and present.ends.timestamp() > now

    # ---- the next certificate --------------------------------------------------------------------------

    def _renew(self, reason: str, at_once: bool) -> bool:
        """Have another certificate in use. Raises CertificateError when the one before is."""
        unfit = self._unfit()
        kept = None if unfit else self._issued.pair()
        chain, key = kept or self._ask(unfit, at_once)
        leaf = read_leaf(chain)
        self._judge(leaf)
        following = key_digest(self._pairs.next_key())
        # After a run that broke off it may be in use already, and the one before is not known any more.
        there = self._pairs.chain() == chain and self._pairs.key() == key
        before = None if there else self._pairs.put_in_use(chain, key)
        proved: list[int] = []
        try:
            proved, unproved = self._take_up(leaf)
        except CertificateError as error:
            unproved = str(error)
            if before is not None and self._pairs.holds(before, self._tools.clock()):
                raise CertificateError(
                    f"the new certificate does not work: {unproved}; {self._back_to(before)}; "
                    f"the new one is kept in {self._issued.place} and tried again before another one is asked for"
                ) from None
            # Nothing is better than what mail programs may come to see.
            self._problems.append(
                f"the new certificate does not show itself: {unproved}; it stays, as there is none before it that holds"
            )
            self._log.event("certificate_not_shown", level="error", problem=unproved)
        if leaf.key == following:
            self._pairs.next_key_is_used()
        now = self._tools.clock()
        url = self._settings.acme.directory_url
        self._note(renewed=now, issued=leaf.fingerprint, authority=url, unproved=unproved, unused=0)
        self._issued.forget()
        self._pairs.prune()
        self._log.event(
            "certificate_renewed",
            reason=reason,
            ends=leaf.ends.isoformat(),
            issuer=leaf.issuer,
            key="next" if leaf.key == following else "kept",
            proved=proved,
            unproved=unproved,
        )
        return True

    def _unfit(self) -> str:
        """Why the pair that the authority issued before, and that is not in use, does not serve; "" where it does."""
        pair = self._issued.pair()
        if pair is None:
            return f"there is no whole pair in {self._issued.place}"
        if self._renewals.order != self._order:
            return "it was asked for with other settings"
        leaf = read_leaf(pair[0])
        try:
            self._judge(leaf)
        except CertificateError as error:
            return str(error)
        if leaf.ends.timestamp() - self._tools.clock() < _left_to_renew(leaf, self._settings):
            return f"it ends on {leaf.ends:%Y-%m-%d}"
        if not self._settings.tlsa or pair[1] == self._pairs.key():
            return ""
        announced = pair[1] == self._pairs.next_key() and self._next_may_be_used(self._renewals)
        return "" if announced else "the TLSA record of its key has not been seen for long enough"

    def _ask(self, unfit: str, at_once: bool) -> tuple[str, str]:
        """Have the authority issue one. at_once: also where it has issued some that came to nothing, `unfit` says why.

        Raises CertificateError.
        """
        until = may_ask(self._renewals, self._order, self._tools.clock())
        if until and not at_once:
            raise CertificateError(
                f"what the authority issued last does not serve: {unfit}; it is not asked for another one before "
                f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC, since authorities count them; "
                "relay-agent certificate renew --now asks at once"
            )
        present = self._pairs.key()
        key = self._pairs.next_key() if self._next_may_be_used(self._renewals) or not present else present
        # Where this cannot be written, what is issued could not be kept either.
        self._note()
        chain = self._tools.issue(self._settings, key)
        # It counts at the authority, whatever becomes of it here.
        unused = self._renewals.unused + 1 if self._renewals.order == self._order else 1
        self._note(asked=self._tools.clock(), order=self._order, unused=unused)
        self._issued.keep(chain, key)
        return chain, key

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

    def _take_up(self, leaf: Leaf) -> tuple[list[int], str]:
        """Have the agent show it, and look: the ports that did, and why none can. Raises CertificateError."""
        if not self._agent.running():
            return [], _STOPPED
        self._agent.reload()
        if self._agent.drained():
            return [], _DRAINED
        ports = tls_ports(self._listeners)
        problem = self._tools.prove(ports, leaf.fingerprint, self._within)
        if problem and self._agent.drained():  # meanwhile
            return [], _DRAINED
        if problem:
            raise CertificateError(problem)
        return [port.port for port in ports], ""

    def _prove_again(self) -> None:
        """Look whether the ports show the pair in use, which they could not when it was put there."""
        leaf, ports = self._present(), tls_ports(self._listeners)
        if leaf is None:
            return
        try:
            proved, unproved = [port.port for port in ports], ""
            closed = _DRAINED if self._agent.drained() else "" if self._agent.running() else _STOPPED
            # Mostly the agent has started with it since then, and needs no reload.
            if closed or self._tools.prove(ports, leaf.fingerprint, 0.0):
                proved, unproved = ([], closed) if closed else self._take_up(leaf)
        except CertificateError as error:
            unproved = str(error)
            self._problems.append(f"the certificate in use does not show itself: {unproved}")
            self._log.event("certificate_not_shown", level="error", problem=unproved)
        self._renewals = replace(self._renewals, unproved=unproved)
        if not unproved:
            self._log.event("certificate_proved", proved=proved)

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
    ours = leaf.fingerprint == renewals.issued and settings.acme.directory_url == renewals.authority
    wanted = {name.lower() for name in settings.names}
    # An authority that adds names of its own would otherwise be asked at every look.
    added = ours and renewals.order == order(settings) and leaf.names > wanted
    if leaf.names != wanted and not added:
        return f"it is for {', '.join(sorted(leaf.names)) or 'no name'}"
    if not ours:
        return f"it is not from {settings.acme.directory_url}"
    if leaf.ends.timestamp() - now < _left_to_renew(leaf, settings):
        return f"it ends on {leaf.ends:%Y-%m-%d}"
    return ""


def _left_to_renew(leaf: Leaf, settings: CertificateSettings) -> float:
    """How many seconds before its end a certificate is renewed."""
    # An authority that issues for days would otherwise be asked at every look.
    return min(timedelta(days=settings.renew_before), leaf.lifetime / 3).total_seconds()

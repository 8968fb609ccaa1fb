# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a session with a target: addresses, connection, TLS as its policy says, sign-in."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from relay_agent.delivery.client import Connection, Timeouts, TlsRefusedError
from relay_agent.delivery.outcome import Cause, Deferred, HostTrouble, Scope, judge_error
from relay_agent.delivery.reply import ReplyError
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.route import Security, Target
from relay_agent.delivery.routing.reach import Families, Unreached, reach
from relay_agent.delivery.sign_in.dialogue import sign_in
from relay_agent.delivery.sign_in.tokens import TokenKeeper
from relay_agent.delivery.tls.handshake import How, secure, ways
from relay_agent.delivery.tls.outward import OutwardTls, recipients_domains
from relay_agent.delivery.tls.policy import Demand, Kind, TlsError
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog

__all__ = ["Opener", "TlsContexts"]

_MOST_TRIED = 5  # addresses of one host in one attempt
_NO_DEMAND = Demand(Kind.OPPORTUNISTIC)


class _Shown(NamedTuple):
    """Files of a certificate and its key, and when they were written."""

    certificate: Path
    key: Path
    certificate_written: int
    key_written: int


def _written(files: tuple[Path, Path]) -> tuple[int, int]:
    return files[0].stat().st_mtime_ns, files[1].stat().st_mtime_ns


def _verifying(ca_file: Path | None, own: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    if own is not None:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(*own, password="")
    return context


class TlsContexts:
    """Client contexts, one for each authority; reading a system's CA bundle takes tens of milliseconds."""

    def __init__(self) -> None:
        self._verified: dict[tuple[Path | None, _Shown | None], ssl.SSLContext] = {}
        self._opportunistic: ssl.SSLContext | None = None

    async def verified(self, ca_file: Path | None, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A context that verifies certificate and name. own: files of a certificate to show, and of its key; they are
        read anew when they have changed. Raises OSError when a file cannot be used."""
        shown = _Shown(*own, *await asyncio.to_thread(_written, own)) if own is not None else None
        context = self._verified.get((ca_file, shown))
        if context is None:
            context = await asyncio.to_thread(_verifying, ca_file, own)
            for key in [key for key in self._verified if own is not None and key[1] is not None and key[1][:2] == own]:
                del self._verified[key]
            self._verified[ca_file, shown] = context
        return context

    def opportunistic(self) -> ssl.SSLContext:
        """A context that takes any certificate: it keeps out who listens, not who stands in the middle."""
        if self._opportunistic is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._opportunistic = context
        return self._opportunistic


@dataclass(slots=True)
class Opener:
    """Opens sessions. connect_timeout: seconds for one address. note: told each open connection, so that its
    owner can wait for it to close."""

    own_name: str
    resolver: Resolver
    connect_timeout: float
    log: EventLog
    tls: OutwardTls
    timeouts: Timeouts = field(default_factory=Timeouts)
    contexts: TlsContexts = field(default_factory=TlsContexts)
    families: Families = field(default_factory=Families)
    tokens: TokenKeeper = field(init=False)
    note: Callable[[Connection], None] = lambda connection: None

    def __post_init__(self) -> None:
        self.tokens = TokenKeeper(self.resolver)

    async def open(self, target: Target, domains: Iterable[str] = ()) -> Connection:
        """A connection ready for MAIL. Tries the target's addresses in turn.

        domains: of the recipients that it is for. Raises HostTrouble with the last address's trouble, or
        UnresolvedError when there is none.
        """
        names = recipients_domains(domains)
        demand = _NO_DEMAND
        if target.security is Security.OPPORTUNISTIC:
            demand = await self.tls.demand(target.host, target.port, target.tls, names)
        left = list((await self._addresses(target))[:_MOST_TRIED])
        trouble: HostTrouble | None = None
        while left:
            reached, unreached = await reach(
                left, target.port, target.origin, self.families, longest=self.connect_timeout
            )
            for each in unreached:
                left.remove(each.address)
                trouble = self._troubled(target, each.address, _not_connected(target, each))
            if reached is None:
                break
            left.remove(reached.address)
            try:
                return await self._open_address(target, reached.address, reached.socket, demand, names)
            except HostTrouble as error:
                trouble = self._troubled(target, reached.address, error)
        assert trouble is not None
        raise trouble

    def _troubled(self, target: Target, address: str, trouble: HostTrouble) -> HostTrouble:
        measured.OUTGOING["failed"] += 1
        outcome = trouble.outcome
        self.log.event(
            "connection_trouble", host=target.label, address=address, status=outcome.status, reply=outcome.text
        )
        return trouble

    async def _addresses(self, target: Target) -> tuple[str, ...]:
        if target.address is not None:
            return (target.address,)
        if target.upstream:
            return await self.resolver.upstream_addresses(target.host)
        return await self.resolver.addresses(target.host)

    async def _open_address(
        self, target: Target, address: str, reached: socket.socket, demand: Demand, domains: tuple[str, ...]
    ) -> Connection:
        """Raises HostTrouble. reached: connected to the address."""
        if target.security is not Security.OPPORTUNISTIC:
            return await self._begin(target, reached, demand, How.AS_DEMANDED, domains)
        *others, last = ways(demand)
        connected: socket.socket | None = reached
        for how in (*others, last):
            if connected is None:
                connected = await self._again(target, address)
            try:
                return await self._begin(target, connected, demand, how, domains)
            except TlsError as error:
                if how is last:
                    raise HostTrouble(replace(error.trouble(demand, target.host).outcome, cause=Cause.TLS)) from None
                # Opportunistic TLS must never be worse than none: the same address again, with less.
                self.log.event("tls_fallback", host=target.label, address=address, reason=str(error))
            connected = None
        raise AssertionError("no way of TLS was tried")

    async def _again(self, target: Target, address: str) -> socket.socket:
        reached, failed = await reach(
            (address,), target.port, target.origin, self.families, longest=self.connect_timeout
        )
        if reached is None:
            raise _not_connected(target, failed[0])
        return reached.socket

    async def _begin(
        self, target: Target, reached: socket.socket, demand: Demand, how: How, domains: tuple[str, ...]
    ) -> Connection:
        """A session over a socket that is connected. Raises HostTrouble; TlsError when an MX host's TLS is not as it
        has to be."""
        connection = Connection(target.host, target.origin.helo or self.own_name, self.timeouts)
        doing, cause = "at the TLS handshake", Cause.TLS
        try:
            await self._take_over(connection, target, reached)
            doing, cause = "before the greeting", Cause.CONNECTION
            await connection.greet()
            doing, cause = "at STARTTLS", Cause.TLS
            if target.security is Security.STARTTLS:
                await connection.start_tls(await self._verified(target))
            elif target.security is Security.OPPORTUNISTIC:
                await self._secure(connection, target, demand, how, domains)
            if target.credentials is not None:
                doing, cause = "at sign-in", Cause.SIGN_IN
                await sign_in(connection, target.credentials, self.tokens)
        except BaseException as error:
            connection.abort()
            if isinstance(error, TlsRefusedError):
                outcome = Deferred("4.7.4", f"TLS is required, but {error}", target.host, Scope.HOST, cause=Cause.TLS)
                raise HostTrouble(outcome) from None
            if isinstance(error, OSError | EOFError | ReplyError):
                raise HostTrouble(replace(judge_error(error, target.host, doing), cause=cause)) from None
            raise
        self.note(connection)
        measured.OUTGOING["opened"] += 1
        measured.OUTGOING_TLS[connection.tls_version or "none"] += 1
        wanted = demand.kind if target.security is Security.OPPORTUNISTIC else None
        if wanted is not None:
            measured.OUTGOING_TLS_DEMANDS[wanted] += 1
        self.log.event(
            "connected",
            level="debug",
            host=target.label,
            address=connection.peer_address,
            tls=connection.tls_version or "none",
            demand=wanted,
        )
        return connection

    async def _secure(
        self, connection: Connection, target: Target, demand: Demand, how: How, domains: tuple[str, ...]
    ) -> None:
        """TLS with an MX host. Raises TlsError when it failed and the connection must not be gone on with."""
        if how is How.CLEAR:
            return
        verify = how is How.TRIAL or (how is How.AS_DEMANDED and demand.kind is Kind.VERIFIED)
        context = await self._verified(target) if verify else self.contexts.opportunistic()
        counts = not demand.reported and (how is How.TRIAL or not demand.trial)
        name = target.address or (None if target.host.startswith("[") else target.host)
        try:
            await secure(connection, demand, how, context=context, server_name=name, domains=domains)
        except TlsError as error:
            if counts:
                self.tls.note(target.host, demand, domains, error, connection)
            if error.lost or demand.strict:
                raise
        else:
            if counts:
                self.tls.note(target.host, demand, domains, None, connection)

    async def _take_over(self, connection: Connection, target: Target, reached: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if target.security is not Security.IMPLICIT:
            await loop.create_connection(lambda: connection, sock=reached)
            return
        try:
            context = await self._verified(target)
        except BaseException:
            reached.close()
            raise
        await loop.create_connection(
            lambda: connection,
            sock=reached,
            ssl=context,
            server_hostname=target.host,
            ssl_handshake_timeout=self.timeouts.tls,
            ssl_shutdown_timeout=self.timeouts.quit,
        )

    async def _verified(self, target: Target) -> ssl.SSLContext:
        own = None
        if (shown := target.credentials) is not None and shown.certificate is not None and shown.key is not None:
            own = shown.certificate, shown.key
        try:
            return await self.contexts.verified(target.ca_file, own)
        except OSError as error:
            words = (isinstance(error, ssl.SSLError) and error.reason) or error.strerror or error
            what = f"certificate authority file {target.ca_file}"
            if own is not None:
                what = (
                    f"{what} or client certificate {own[0]} with key {own[1]}"
                    if target.ca_file
                    else (f"client certificate {own[0]} with key {own[1]}")
                )
            text = f"{what} cannot be used: {words}"
            raise HostTrouble(Deferred("4.3.5", text, "", Scope.HOST, cause=Cause.TLS)) from None


def _not_connected(target: Target, unreached: Unreached) -> HostTrouble:
    return HostTrouble(judge_error(unreached.error, target.host, "while connecting"))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening a session with a target: addresses, connection, TLS as its policy says, sign-in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from relay_agent.delivery.client import Connection, Timeouts, TlsRefusedError
from relay_agent.delivery.outcome import Deferred, HostTrouble, Scope, judge_error
from relay_agent.delivery.reply import ReplyError
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.route import Security, Target
from relay_agent.delivery.tls.handshake import How, secure, ways
from relay_agent.delivery.tls.outward import OutwardTls, recipients_domains
from relay_agent.delivery.tls.policy import Demand, Kind, TlsError
from relay_agent.observability import measured
from relay_agent.observability.log import EventLog

__all__ = ["Opener", "TlsContexts"]

_MOST_TRIED = 5  # addresses of one host in one attempt
_NO_DEMAND = Demand(Kind.OPPORTUNISTIC)


class TlsContexts:
    """Client contexts, one for each authority; reading a system's CA bundle takes tens of milliseconds."""

    def __init__(self) -> None:
        self._verified: dict[Path | None, ssl.SSLContext] = {}
        self._opportunistic: ssl.SSLContext | None = None

    async def verified(self, ca_file: Path | None) -> ssl.SSLContext:
        """A context that verifies certificate and name. Raises OSError when the file cannot be used."""
        context = self._verified.get(ca_file)
        if context is None:
            context = await asyncio.to_thread(
                lambda: ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
            )
            self._verified[ca_file] = context
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
    note: Callable[[Connection], None] = lambda connection: None

    async def open(self, target: Target, domains: Iterable[str] = ()) -> Connection:
        """A connection ready for MAIL. Tries the target's addresses in turn.

        domains: of the recipients that it is for. Raises HostTrouble with the last address's trouble, or
        UnresolvedError when there is none.
        """
        names = recipients_domains(domains)
        demand = _NO_DEMAND
        if target.security is Security.OPPORTUNISTIC:
            demand = await self.tls.demand(target.host, target.port, target.tls, names)
        addresses = await self._addresses(target)
        trouble: HostTrouble | None = None
        for address in addresses[:_MOST_TRIED]:
            try:
                return await self._open_address(target, address, demand, names)
            except HostTrouble as error:
                trouble = error
                measured.OUTGOING["failed"] += 1
                self.log.event(
                    "connection_trouble",
                    host=target.label,
                    address=address,
                    status=error.outcome.status,
                    reply=error.outcome.text,
                )
        assert trouble is not None
        raise trouble

    async def _addresses(self, target: Target) -> tuple[str, ...]:
        if target.address is not None:
            return (target.address,)
        if target.upstream:
            return await self.resolver.upstream_addresses(target.host)
        return await self.resolver.addresses(target.host)

    async def _open_address(self, target: Target, address: str, demand: Demand, domains: tuple[str, ...]) -> Connection:
        """Raises HostTrouble."""
        if target.security is not Security.OPPORTUNISTIC:
            return await self._begin(target, address, demand, How.AS_DEMANDED, domains)
        *others, last = ways(demand)
        for how in others:
            try:
                return await self._begin(target, address, demand, how, domains)
            except TlsError as error:
                # Opportunistic TLS must never be worse than none: the same address again, with less.
                self.log.event("tls_fallback", host=target.label, address=address, reason=str(error))
        try:
            return await self._begin(target, address, demand, last, domains)
        except TlsError as error:
            raise error.trouble(demand, target.host) from None

    async def _begin(
        self, target: Target, address: str, demand: Demand, how: How, domains: tuple[str, ...]
    ) -> Connection:
        """Raises HostTrouble; TlsError when an MX host's TLS is not as it has to be."""
        connection = Connection(target.host, self.own_name, self.timeouts)
        doing = "while connecting"
        try:
            await self._connect(connection, target, address)
            doing = "before the greeting"
            await connection.greet()
            doing = "at STARTTLS"
            if target.security is Security.STARTTLS:
                await connection.start_tls(await self._verified(target))
            elif target.security is Security.OPPORTUNISTIC:
                await self._secure(connection, target, demand, how, domains)
            if target.username is not None:
                doing = "at sign-in"
                await connection.sign_in(target.username, await _password(target))
        except BaseException as error:
            connection.abort()
            if isinstance(error, TlsRefusedError):
                outcome = Deferred("4.7.4", f"TLS is required, but {error}", target.host, Scope.HOST)
                raise HostTrouble(outcome) from None
            if isinstance(error, OSError | EOFError | ReplyError):
                raise HostTrouble(judge_error(error, target.host, doing)) from None
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
            address=address,
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

    async def _connect(self, connection: Connection, target: Target, address: str) -> None:
        implicit = target.security is Security.IMPLICIT
        context = await self._verified(target) if implicit else None
        async with asyncio.timeout(self.connect_timeout):
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                address,
                target.port,
                ssl=context,
                server_hostname=target.host if implicit else None,
            )

    async def _verified(self, target: Target) -> ssl.SSLContext:
        try:
            return await self.contexts.verified(target.ca_file)
        except OSError as error:
            text = f"certificate authority file {target.ca_file} cannot be used: {error.strerror or error}"
            raise HostTrouble(Deferred("4.3.5", text, "", Scope.HOST)) from None


async def _password(target: Target) -> str:
    """The first line of the password file, read anew at each sign-in so that a changed one counts at once."""
    assert target.password_file is not None
    try:
        content = await asyncio.to_thread(target.password_file.read_text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        text = f"password file {target.password_file} cannot be read: {why}"
        raise HostTrouble(Deferred("4.3.5", text, "", Scope.HOST)) from None
    password = content.partition("\n")[0].rstrip("\r")
    if not password or "\0" in password:
        text = f"password file {target.password_file} has no password on its first line"
        raise HostTrouble(Deferred("4.3.5", text, "", Scope.HOST))
    return password

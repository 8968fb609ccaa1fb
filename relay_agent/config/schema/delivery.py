# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way mail goes on, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from relay_agent.config.schema.routes import Hop, check_pool
from relay_agent.config.schema.values import Duration, Host, MxTls, Port, Resolver, Section

__all__ = ["Delivery", "Shaping", "TlsPolicy", "TlsReports"]

# Mail hosts of three of the largest providers: where none of them answers, port 25 is closed.
_WELL_KNOWN = (
    "gmail-smtp-in.l.google.com",
    "outlook-com.olc.protection.outlook.com",
    "mta5.am0.yahoodns.net",
)


class Delivery(Section):
    """How mail is carried on."""

    retry_for: Duration = Field(default=432_000.0, ge=60, description="How long delivery is tried before the bounce.")
    retry_first: Duration = Field(default=60.0, ge=1, description="Wait after the first failure; it doubles each time.")
    retry_max: Duration = Field(default=3600.0, ge=1, description="Longest wait between two attempts.")
    retry_greylisted: tuple[Duration, ...] = Field(
        default=(300.0, 600.0, 1200.0),
        description="Waits after the first refusals of a host that greylists (puts off strangers for some minutes), in "
        "place of those above; `[]` for none.",
    )
    delay_notice: Duration = Field(
        default=14_400.0,
        description="When a sender is told, once for each recipient, that a message is still being tried; `0` for "
        "never. Who asked for news (DSN, NOTIFY) without DELAY is not told.",
    )
    max_connections: int = Field(default=200, ge=1, description="Outgoing connections at once.")
    max_connections_per_destination: int = Field(
        default=10, ge=1, description="Outgoing connections at once to one destination."
    )
    connect_timeout: Duration = Field(default=30.0, ge=1, description="Wait for a connection to one address.")
    resolvers: tuple[Resolver, ...] = Field(
        default=(),
        description="DNS resolvers, `address` or `address:port`; empty: those of `/etc/resolv.conf`.",
    )
    smtp_port: Port = Field(default=25, description="Port of the recipients' MX hosts; other than 25 only in tests.")
    tls: MxTls = Field(
        default="opportunistic",
        description="TLS with MX hosts of domains that ask for no more: `opportunistic` (used where offered), "
        "`required` (encrypted or deferred) or `verified` (by DANE or a certificate authority, or deferred). "
        "`[[tls_policy]]` sets it for some domains.",
    )
    dnssec: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether the resolvers validate DNSSEC and can be believed, so that DANE (RFC 7672) is used: "
        "`auto` if all of them are on this host (loopback); `on` says that the way to others is safe, too.",
    )
    mta_sts: bool = Field(default=True, description="Whether domains' MTA-STS policies (RFC 8461) are kept to.")
    mta_sts_port: Port = Field(
        default=443, description="Port of the hosts that policies are fetched from; other than 443 only in tests."
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities that MX hosts and MTA-STS hosts are verified with, instead of the "
        "system's.",
    )
    port25_check: tuple[Host, ...] = Field(
        default=_WELL_KNOWN,
        max_length=10,
        description="Mail hosts that are connected to, at the start and hourly, to see whether port 25 is open to the "
        "outside at all; nothing is sent. Empty: it is not looked.",
    )
    fallback_via: tuple[Hop, ...] = Field(
        default=(),
        description="Upstream relays, as in `[[route]]`, that carry mail for MX hosts while port 25 is closed; without "
        "them the first route's with `via` and without `senders`, `accounts` and `etrn`.",
    )

    @model_validator(mode="after")
    def _check(self) -> Delivery:
        check_pool(self.fallback_via)
        return self


class Shaping(Section):
    """What some mail hosts can take. The first match wins; hosts without one are held to `[delivery]`."""

    destinations: tuple[str, ...] = Field(
        min_length=1,
        description='Names of mail hosts (MX hosts or upstream relays, not recipient domains): `"mx.example.org"`, '
        '`"*.example.org"` (any name below) or `"*"` (all). All domains with the same hosts share the limits.',
    )
    connections: int | None = Field(
        default=None,
        ge=1,
        description="Connections at once; without it `delivery.max_connections_per_destination`.",
    )
    messages_per_minute: float | None = Field(
        default=None,
        gt=0,
        description="Messages a minute, evenly spread, with what is due in 5 seconds at once; without it there is no "
        "limit. The limits are for the whole host: each worker process has its part of them.",
    )


class TlsPolicy(Section):
    """The TLS that is wanted of the MX hosts of some domains; the first match wins."""

    domains: tuple[str, ...] = Field(
        min_length=1,
        description='Recipient domains: `"example.org"`, `"*.example.org"` (any name below) or `"*"` (all).',
    )
    tls: MxTls = Field(description="As `delivery.tls`. What a domain itself asks for, by DANE or MTA-STS, comes first.")


class TlsReports(Section):
    """Daily reports to the domains that ask for them, of the TLS we met there (RFC 8460)."""

    contact: str = Field(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$",
        description="Mail address for questions, and the sender of the reports, e.g. `postmaster@example.org`.",
    )
    organization: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Who reports; without it `hostname`.",
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way mail goes: routes, and the upstream relays that they lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from relay_agent.config.schema.values import Duration, HopTls, Host, Hostname, Port, Section

__all__ = ["Hop", "Route", "check_pool"]

_DOMAINS = '`"example.org"`, `"*.example.org"` (any name below) or `"*"` (all)'


class Hop(Section):
    """An upstream relay (smarthost)."""

    host: Host = Field(description="Name or address of the upstream relay.")
    port: Port = Field(default=587, description="Its port.")
    tls: HopTls = Field(
        default="starttls",
        description="`starttls` and `implicit` verify the certificate; `none` is in the clear.",
    )
    priority: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Lower ones come first. For all of a pool or none: without it, they are tried as listed.",
    )
    weight: int = Field(
        default=1, ge=1, le=1000, description="Share of new connections among those of the same `priority`."
    )
    auth: Literal["external", "scram-sha-256", "oauthbearer", "xoauth2", "plain", "login"] | None = Field(
        default=None,
        description="Sign in by this mechanism alone; without it, by the strongest that both sides have.",
    )
    username: str | None = Field(default=None, min_length=1, description="Sign in with this name.")
    password_file: Path | None = Field(default=None, description="File whose first line is the password.")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority to trust instead of the system's."
    )
    client_certificate: Path | None = Field(
        default=None,
        description="PEM file of a certificate to show; where the server offers it, it also signs in (EXTERNAL).",
    )
    client_key: Path | None = Field(default=None, description="PEM file of its key, without a passphrase.")
    token_url: str | None = Field(
        default=None,
        pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[!-~]*$",
        description="Where access tokens are fetched (RFC 6749), by client credentials or by a refresh token.",
    )
    client_id: str | None = Field(default=None, min_length=1, description="The client that tokens are fetched for.")
    client_secret_file: Path | None = Field(default=None, description="File whose first line is its secret.")
    client_auth: Literal["basic", "post"] = Field(
        default="basic", description="How id and secret are shown: in the HTTP header or in the form."
    )
    refresh_token_file: Path | None = Field(
        default=None, description="File whose first line is a refresh token; without it: client credentials."
    )
    scope: str | None = Field(default=None, min_length=1, description="The scope to ask for, if any.")
    token_ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that `token_url` is verified with, not the system's."
    )
    token_command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Program and arguments, run without a shell; the first line it prints is an access token.",
    )

    @property
    def has_token(self) -> bool:
        """Whether it is signed in to with access tokens."""
        return self.token_url is not None or self.token_command is not None

    @model_validator(mode="after")
    def _check(self) -> Hop:
        if self.has_token:
            self._check_token()
        else:
            for name in ("client_id", "client_secret_file", "refresh_token_file", "scope", "token_ca_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is of no use without token_url")
            if (self.username is None) != (self.password_file is None):
                raise ValueError("username and password_file go together")
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and client_key go together")
        if (self.username is not None or self.client_certificate is not None) and self.tls == "none":
            raise ValueError('signing in needs TLS: set tls to "starttls" or "implicit"')
        self._check_auth()
        return self

    def _check_token(self) -> None:
        if self.username is None:
            raise ValueError("signing in with tokens needs a username")
        if self.password_file is not None:
            raise ValueError("password_file and access tokens exclude each other")
        if self.token_command is not None:
            if self.token_url is not None:
                raise ValueError("token_url and token_command exclude each other")
            if not self.token_command[0].startswith("/"):
                raise ValueError("token_command begins with the program's whole path")
            return
        if self.client_id is None:
            raise ValueError("token_url needs a client_id")
        if self.client_secret_file is None and self.refresh_token_file is None:
            raise ValueError("token_url needs client_secret_file, refresh_token_file or both")

    def _check_auth(self) -> None:
        if self.auth is None:
            return
        if self.auth == "external":
            if self.client_certificate is None:
                raise ValueError('auth = "external" needs client_certificate')
        elif self.auth in ("oauthbearer", "xoauth2"):
            if not self.has_token:
                raise ValueError(f'auth = "{self.auth}" needs token_url or token_command')
        elif self.password_file is None:
            raise ValueError(f'auth = "{self.auth}" needs username and password_file')


class Route(Section):
    """Which way some mail takes; the first match wins, without one it goes to the MX hosts."""

    domains: tuple[str, ...] = Field(default=("*",), min_length=1, description=f"Recipient domains: {_DOMAINS}.")
    senders: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description=f"Only mail whose envelope sender is of these: {_DOMAINS}, a whole address, or `<>` (bounces).",
    )
    accounts: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Only mail of these accounts; `*` stands for any letters, alone for all that signed in.",
    )
    via: tuple[Hop, ...] = Field(
        default=(), description="A pool of upstream relays; what one does not take, the next does at once."
    )
    mx: bool = Field(default=False, description="To the MX hosts of the recipients' domains, in place of `via`.")
    etrn: bool = Field(
        default=False,
        description="Keep the mail of these domains until their site calls in: with ETRN (RFC 1985) it is sent by "
        "`via`, with ATRN (RFC 2645) over the site's own connection.",
    )
    owners: tuple[str, ...] = Field(
        default=(), description="With `etrn`: the accounts that may call for the mail of these domains."
    )
    hold_for: Duration = Field(
        default=2_592_000.0,
        ge=60,
        description="With `etrn`: how long mail is kept for the site before the bounce; `delivery.retry_for` at least.",
    )
    source_address: IPv4Address | None = Field(default=None, description="IPv4 address to connect from.")
    source_address6: IPv6Address | None = Field(default=None, description="IPv6 address to connect from.")
    helo: Hostname | None = Field(default=None, description="Name to say in EHLO instead of `hostname`.")

    @model_validator(mode="after")
    def _check(self) -> Route:
        if self.etrn:
            self._check_site()
        elif self.owners or "hold_for" in self.model_fields_set:
            raise ValueError("owners and hold_for are for routes with etrn = true")
        elif self.mx == bool(self.via):
            raise ValueError("a route needs either via (upstream relays) or mx = true, or else etrn = true")
        check_pool(self.via)
        return self

    def _check_site(self) -> None:
        if self.mx:
            raise ValueError("etrn and mx exclude each other: a site has no MX host while it is away")
        if self.senders is not None or self.accounts is not None:
            raise ValueError("etrn keeps all mail of its domains, whoever sent it: leave senders and accounts out")
        if not self.owners:
            raise ValueError("etrn needs owners: the accounts that may call for this mail")
        if "*" in self.domains:
            raise ValueError('etrn is for the domains of one site, not for "*"')


def check_pool(hops: tuple[Hop, ...]) -> None:
    """Raise ValueError where a pool's order is not clear."""
    ordered = sum(hop.priority is not None for hop in hops)
    if ordered not in (0, len(hops)):
        raise ValueError("priority has to be given for all upstream relays of a pool, or for none")
    if not ordered and any(hop.weight != 1 for hop in hops):
        raise ValueError("weight divides connections among equal priorities: give them a priority, too")

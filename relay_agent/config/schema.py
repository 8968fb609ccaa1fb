# SPDX-License-Identifier: GPL-3.0-or-later
"""What may stand in the agent's configuration file, value by value.

Every field carries the description that ``docs/configuration.md`` is generated from. Unknown keys are
errors everywhere: a misspelt key must never be a setting silently left at its default.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyAddress, model_validator

__all__ = [
    "Accounts",
    "Config",
    "Control",
    "Delivery",
    "Hop",
    "Listener",
    "OAuth",
    "Policy",
    "Process",
    "Queue",
    "Route",
    "Submission",
    "Tls",
    "parse_duration",
    "parse_resolver",
]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds of a duration such as ``"200ms"``, ``"90s"``, ``"1h30m"`` or ``"5d"``; a bare number is seconds.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a duration cannot be negative")
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return float(sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value)))
    raise ValueError('expected a duration such as "90s", "30m", "12h" or "5d"')


def _hostname(value: object) -> object:
    if isinstance(value, str):
        name = value.rstrip(".")
        if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError("expected a host name such as relay.example.org")
        return name
    return value


def _host(value: object) -> object:
    """A host name or an address literal."""
    if isinstance(value, str) and ":" in value:
        IPvAnyAddress(value)  # type: ignore[operator]
        return value
    return _hostname(value)


def parse_resolver(value: str) -> tuple[str, int]:
    """Address and port of a resolver written as ``192.0.2.1``, ``192.0.2.1:5353`` or ``[2001:db8::1]:53``."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9a-fA-F:]+)", value)
    if match is None:
        raise ValueError("expected an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53")
    address = match[1] or match[3] or match[5]
    port = int(match[2] or match[4] or 53)
    try:
        IPvAnyAddress(address)  # type: ignore[operator]
    except ValueError:
        raise ValueError(f"{address} is not an IP address") from None
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port (1 to 65535)")
    return address, port


def _resolver(value: object) -> object:
    if isinstance(value, str):
        parse_resolver(value)
    return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Hostname = Annotated[str, BeforeValidator(_hostname)]
Host = Annotated[str, BeforeValidator(_host)]
Resolver = Annotated[str, BeforeValidator(_resolver)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
HopTls = Literal["starttls", "implicit", "none"]
ListenerTls = Literal["starttls", "implicit", "auto", "none"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(_Section):
    """A port on which mail programs submit."""

    address: str = Field(default="", description='Address to listen on; `""` is every address of both families.')
    port: Port = Field(description="TCP port. 25 is not for submission.")
    tls: ListenerTls = Field(
        description="`starttls` (required before sign-in), `implicit` (TLS from the first byte, RFC 8314), "
        "`auto` (whichever of the two the client begins with) or `none` (only for trusted networks)."
    )
    auth: Literal["required", "optional", "none"] = Field(
        default="required",
        description="Whether a client must sign in. `none` only together with `submission.trusted_networks`.",
    )
    proxy_from: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description='Balancers that this port is behind, e.g. `["192.0.2.0/24"]`: each connection must come from '
        "one of them and begin with a PROXY header (version 1 or 2), which names the client.",
    )

    @model_validator(mode="after")
    def _check(self) -> Listener:
        if self.port == 25:
            raise ValueError("port 25 is for mail between servers (RFC 6409), not for submission")
        if self.address:
            IPvAnyAddress(self.address)  # type: ignore[operator]
        return self


class Tls(_Section):
    """The certificate that mail programs see."""

    certificate: Path = Field(description="PEM file: the certificate, then the intermediates.")
    key: Path = Field(description="PEM file with the private key, readable by the agent alone.")


class Submission(_Section):
    """What a mail program may do."""

    trusted_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description='Networks that may submit without signing in, e.g. `["127.0.0.0/8"]`.'
    )
    max_message_size: int = Field(
        default=52_428_800, ge=65_536, description="Largest message taken, in bytes (SIZE, RFC 1870)."
    )
    max_recipients: int = Field(default=1000, ge=100, description="Recipients of one message (RFC 5321 4.5.3.1.8).")
    max_connections: int = Field(default=5000, ge=1, description="Sessions at once, over all listeners.")
    max_connections_per_source: int = Field(
        default=100, ge=1, description="Sessions at once from one IPv4 address or IPv6 /64."
    )
    auto_wait: Duration = Field(
        default=0.2,
        ge=0.02,
        le=5,
        description="On a listener with `auto`: how long a client may take to begin with TLS before it is greeted.",
    )
    command_timeout: Duration = Field(
        default=300.0, ge=1, description="Longest silence of a client before 421 (RFC 5321 4.5.3.2.7)."
    )
    max_hold: Duration = Field(
        default=604_800.0,
        ge=0,
        le=999_999_999,
        description="Longest time that a signed-in program may have a message held before it is carried on "
        "(FUTURERELEASE, RFC 4865); 0: not offered.",
    )
    max_auth_failures: int = Field(default=5, ge=1, description="Failed sign-ins before the session is closed.")
    sender_check: Literal["listed", "strict", "off"] = Field(
        default="listed",
        description="Whether the envelope sender and the header's From and Sender must be addresses of the account: "
        "those listed for it, or else its name if that is an address. `listed`: an account with neither may use any "
        "address; `strict`: it may use none; `off`: nothing is checked.",
    )
    sender_mismatch: Literal["refuse", "rewrite"] = Field(
        default="refuse",
        description="What happens to another address: `refuse` with 553, or `rewrite` it to the account's first "
        "address (envelope and From; a Sender line is dropped).",
    )
    trace_client: bool = Field(
        default=False, description="Write the client's address and the name it gave into the Received line."
    )


class Policy(_Section):
    """How much an account may send, and how often a password may be guessed.

    The defaults are for a company of a thousand people. Limits of an account in the file of accounts come first.
    """

    messages_per_hour: int = Field(
        default=500,
        ge=0,
        description="Messages an hour from one account, in the long run; 0: no limit. "
        "This, recipients and guesses are counted by each worker process for itself.",
    )
    messages_burst: int = Field(
        default=200, ge=1, description="Messages that an account may send at once after a while of silence."
    )
    recipients_per_hour: int = Field(
        default=5000, ge=0, description="Recipients an hour of all messages of one account; 0: no limit."
    )
    recipients_burst: int = Field(
        default=2000,
        ge=1,
        description="Recipients at once after a while of silence; also the most that one message has.",
    )
    message_size: int = Field(
        default=0, ge=0, description="Largest message of an account, in bytes; 0: `submission.max_message_size`."
    )
    sessions: int = Field(default=50, ge=0, description="Sessions at once signed in to one account; 0: no limit.")
    guesses: int = Field(
        default=10,
        ge=1,
        description="Different wrong passwords for an account from one network (IPv4 /24, IPv6 /56) before no more "
        "are taken for `shut_out`. Before that, each takes longer than the last. Repeating a wrong one costs nothing.",
    )
    shut_out: Duration = Field(
        default=900.0, ge=1, description="How long the first time; it doubles each time, up to `shut_out_max`."
    )
    shut_out_max: Duration = Field(
        default=86_400.0, ge=1, description="Longest shut-out; guesses are forgotten after as long a silence."
    )


class Accounts(_Section):
    """Who may sign in."""

    file: Path = Field(
        default=Path("/etc/postroad/accounts.toml"), description="TOML file kept by `relay-agent account`."
    )


class OAuth(_Section):
    """Sign-in with an access token (OAUTHBEARER, RFC 7628, and XOAUTH2) of the company's identity provider.

    A token only replaces the password: the account that it names has to be in the file of accounts.
    """

    issuer: str = Field(min_length=1, description="The provider, exactly as in the claim `iss`.")
    audience: tuple[str, ...] = Field(
        min_length=1, description="Names of this relay in the claim `aud`; a token needs one of them."
    )
    jwks_url: str | None = Field(
        default=None, pattern=r"^https://[!-~]+$", description="Where the provider publishes its keys (`jwks_uri`)."
    )
    jwks_file: Path | None = Field(default=None, description="Or a file with them (JWK Set, RFC 7517).")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority of `jwks_url` instead of the system's."
    )
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(default=("RS256", "ES256"), min_length=1, description="Algorithms that a token may be signed with.")
    account_claim: str = Field(
        default="email", min_length=1, description="Claim that holds the account's name; an `email` must be verified."
    )
    leeway: Duration = Field(default=60.0, ge=0, description="How far the provider's clock may be off.")
    refresh: Duration = Field(default=3600.0, ge=60, description="How long keys are used before they are read again.")

    @model_validator(mode="after")
    def _check(self) -> OAuth:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("expected either jwks_url or jwks_file")
        return self


class Queue(_Section):
    """Where accepted mail is kept until it is delivered."""

    backend: Literal["embedded"] = Field(default="embedded", description="`embedded`: SQLite, synced before the 250.")
    directory: Path = Field(
        default=Path("/var/lib/postroad/queue"),
        description="Directory on a local disk, owned by the agent's user.",
    )


class Process(_Section):
    """How the agent uses this host."""

    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Processes that take and deliver mail, under one that supervises them; 0: one for each core.",
    )


class Control(_Section):
    """How `relay-agent status` and `relay-agent queue` reach the running agent."""

    socket: Path = Field(default=Path("/run/postroad/control.sock"), description="Unix socket of the running agent.")


class Hop(_Section):
    """An upstream relay (smarthost)."""

    host: Host = Field(description="Name or address of the upstream relay.")
    port: Port = Field(default=587, description="Its port.")
    tls: HopTls = Field(
        default="starttls",
        description="`starttls` and `implicit` verify the certificate; `none` is in the clear.",
    )
    username: str | None = Field(default=None, min_length=1, description="Sign in with this name.")
    password_file: Path | None = Field(default=None, description="File whose first line is the password.")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority to trust instead of the system's."
    )

    @model_validator(mode="after")
    def _check(self) -> Hop:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        if self.username is not None and self.tls == "none":
            raise ValueError('signing in needs TLS: set tls to "starttls" or "implicit"')
        return self


class Route(_Section):
    """Which way mail for some domains takes; the first match wins, without one it goes to the MX hosts."""

    domains: tuple[str, ...] = Field(
        min_length=1,
        description='Recipient domains: `"example.org"`, `"*.example.org"` (any name below) or `"*"` (all).',
    )
    via: tuple[Hop, ...] = Field(min_length=1, description="Upstream relays, tried in this order.")


class Delivery(_Section):
    """How mail is carried on."""

    retry_for: Duration = Field(default=432_000.0, ge=60, description="How long delivery is tried before the bounce.")
    retry_first: Duration = Field(default=60.0, ge=1, description="Wait after the first failure; it doubles each time.")
    retry_max: Duration = Field(default=3600.0, ge=1, description="Longest wait between two attempts.")
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


class Config(_Section):
    """The whole file."""

    hostname: Hostname = Field(description="The relay's own name, as in the greeting, EHLO and trace headers.")
    listener: tuple[Listener, ...] = Field(min_length=1, description="The ports for submission.")
    tls: Tls | None = Field(default=None, description="Needed as soon as a listener offers TLS.")
    submission: Submission = Field(default_factory=Submission, description="What a mail program may do.")
    policy: Policy = Field(default_factory=Policy, description="How much an account may send.")
    accounts: Accounts = Field(default_factory=Accounts, description="Who may sign in.")
    oauth: OAuth | None = Field(default=None, description="Sign-in with access tokens; without it there is none.")
    queue: Queue = Field(default_factory=Queue, description="Where accepted mail is kept.")
    process: Process = Field(default_factory=Process, description="How the agent uses this host.")
    control: Control = Field(default_factory=Control, description="The running agent's control socket.")
    route: tuple[Route, ...] = Field(default=(), description="Ways for mail; first match wins.")
    delivery: Delivery = Field(default_factory=Delivery, description="How mail is carried on.")

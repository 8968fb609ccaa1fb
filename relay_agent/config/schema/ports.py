# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports that mail programs meet."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyAddress, field_validator, model_validator

from relay_agent.config.schema.values import ListenerTls, Port, Section

__all__ = ["Listener", "Tls"]


class Listener(Section):
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

    web: str = Field(
        default="",
        description='A web server of this host, e.g. `"127.0.0.1:8080"`: browsers that come to this port are carried '
        "there, without TLS and with a PROXY header of version 1 in front; mail programs are greeted "
        "`submission.web_wait` later.",
    )

    @field_validator("web")
    @classmethod
    def _is_here(cls, text: str) -> str:
        """Not beyond this host: what the browser said under TLS goes there in the clear."""
        host, _, port = text.rpartition(":")
        try:
            here = not text or (ip_address(host.strip("[]")).is_loopback and 0 < int(port) < 65536)
        except ValueError:
            here = False
        if not here:
            raise ValueError(f"{text!r} is no web server of this host (expected as in 127.0.0.1:8080 or [::1]:8080)")
        return text

    @property
    def web_server(self) -> tuple[str, int] | None:
        """Address and port of `web`."""
        host, _, port = self.web.rpartition(":")
        return (host.strip("[]"), int(port)) if self.web else None

    @model_validator(mode="after")
    def _check(self) -> Listener:
        if self.port == 25:
            raise ValueError("port 25 is for mail between servers (RFC 6409), not for submission")
        if self.address:
            IPvAnyAddress(self.address)  # type: ignore[operator]
        return self


class Tls(Section):
    """The certificate that mail programs see."""

    certificate: Path = Field(description="PEM file: the certificate, then the intermediates.")
    key: Path = Field(description="PEM file with the private key, readable by the agent alone.")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file of the authorities whose client certificates sign in (AUTH EXTERNAL). Programs are then "
        "asked for a certificate and may go without; one by another authority, or one that has ended, fails the "
        "handshake. The account is that of the certificate's e-mail address. With the authorities' revocation lists "
        "in the same file, every certificate is held against them; a list that is missing or has ended refuses all.",
    )

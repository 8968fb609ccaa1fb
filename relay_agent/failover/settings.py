# SPDX-License-Identifier: GPL-3.0-or-later
"""What `relay-agent failover` goes by: /etc/postroad-failover.toml, written by the role relay_dns."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, IPvAnyAddress, ValidationError, model_validator

from relay_agent.config.schema.values import Host, Hostname, Port, Section

__all__ = ["DEFAULT_SETTINGS", "FailoverError", "FailoverSettings", "Member", "Witness", "read_settings"]

# Not in /etc/postroad: that directory is the agent's, which talks to strangers and is not to see the key.
DEFAULT_SETTINGS = Path("/etc/postroad-failover.toml")


class FailoverError(Exception):
    """Something cannot be done; the text says what, and what to do."""


class Member(Section):
    """A relay of the fleet. name: by which it is held out. addresses: those that belong in the list."""

    name: Hostname
    addresses: tuple[IPvAnyAddress, ...] = Field(min_length=1)


class Witness(Section):
    """A host that is no relay and always answers; who reaches none is cut off, and judges nobody."""

    host: Host
    port: Port


class Server(Section):
    """The server that takes updates of the zone. ttl: seconds, of the addresses."""

    server: Host
    port: Port = 53
    zone: Hostname
    key_name: str = Field(min_length=1)
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    key_secret: str = Field(min_length=1, repr=False)
    ttl: int = Field(default=30, ge=1, le=3600)


class FailoverSettings(Section):
    """service: the name that mail programs use. own: which member this host is.

    interval: seconds between two looks. timeout: seconds that a relay has to greet. failures: looks in a row that a
    relay has to miss to be withdrawn. successes: looks in a row that bring it back.
    """

    service: Hostname
    own: Hostname
    port: Port = 465
    security: Literal["implicit", "starttls"] = "implicit"
    interval: float = Field(default=10, ge=1, le=600)
    timeout: float = Field(default=5, ge=0.5, le=60)
    failures: int = Field(default=3, ge=2, le=100)
    successes: int = Field(default=2, ge=1, le=100)
    member: tuple[Member, ...] = Field(min_length=2)
    witness: tuple[Witness, ...] = ()
    dns: Server

    @model_validator(mode="after")
    def _check(self) -> FailoverSettings:
        names = [each.name.lower() for each in self.member]
        if len(set(names)) < len(names):
            raise ValueError("two members have the same name")
        if self.own.lower() not in names:
            raise ValueError(f"{self.own} is not among the members")
        addresses = [address for each in self.member for address in each.addresses]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two members have the same address")
        return self


def read_settings(path: Path) -> FailoverSettings:
    """From a file, or with `-` from standard input, by which systemd hands it to a service that may not open it.

    Raises FailoverError with a sentence that says what is wrong, and never shows the key.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
        return FailoverSettings.model_validate(tomllib.loads(text))
    except FileNotFoundError:
        raise FailoverError(f"{path} does not exist: dns.yml writes it where relay_dns_failover is enabled") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise FailoverError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from None
    except PermissionError:
        raise FailoverError(f"{path} can be read by root only: it has the key of the name server") from None
    except (OSError, ValueError) as error:
        raise FailoverError(f"{path} cannot be read: {error}") from None

# SPDX-License-Identifier: GPL-3.0-or-later
"""What we sign in to an upstream relay with: names, and where the secrets lie. No secret is held here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from relay_agent.config.schema import Hop
from relay_agent.delivery.outcome import Cause, Deferred, HostTrouble, Scope

__all__ = ["Credentials", "TokenSource", "credentials_of", "first_line", "sign_in_trouble"]

_MOST_BYTES = 65_536


@dataclass(slots=True, frozen=True)
class TokenSource:
    """Where access tokens come from: an endpoint (RFC 6749), or a program that prints them."""

    command: tuple[str, ...] = ()
    url: str = ""
    client_id: str = ""
    client_secret_file: Path | None = None
    refresh_token_file: Path | None = None
    client_auth: Literal["basic", "post"] = "basic"
    scope: str | None = None
    ca_file: Path | None = None

    @property
    def label(self) -> str:
        """For people: the endpoint's host, or the program."""
        return self.command[0] if self.command else self.url.split("/")[2]


@dataclass(slots=True, frozen=True)
class Credentials:
    """Of one hop. mechanism: the only one to use; None for the strongest."""

    username: str | None = None
    password_file: Path | None = None
    tokens: TokenSource | None = None
    certificate: Path | None = None
    key: Path | None = None
    mechanism: str | None = None


def credentials_of(hop: Hop) -> Credentials | None:
    """What a hop is signed in to with; None for nothing at all."""
    if hop.username is None and hop.client_certificate is None:
        return None
    tokens = None
    if hop.has_token:
        tokens = TokenSource(
            hop.token_command or (),
            hop.token_url or "",
            hop.client_id or "",
            hop.client_secret_file,
            hop.refresh_token_file,
            hop.client_auth,
            hop.scope,
            hop.token_ca_file,
        )
    mechanism = hop.auth.upper() if hop.auth is not None else None
    return Credentials(hop.username, hop.password_file, tokens, hop.client_certificate, hop.client_key, mechanism)


def sign_in_trouble(text: str, *, status: str = "4.3.5", host: str = "") -> HostTrouble:
    """The trouble of a host that we cannot sign in to."""
    return HostTrouble(Deferred(status, text, host, Scope.HOST, cause=Cause.SIGN_IN))


async def first_line(path: Path, what: str) -> str:
    """The first line of a file with a secret, read anew each time so that a changed one counts at once.

    what: as in ``password file``, for the trouble. Raises HostTrouble.
    """
    try:
        content = (await asyncio.to_thread(_head, path)).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise sign_in_trouble(f"{what} file {path} cannot be read: {why}") from None
    secret = content.partition("\n")[0].rstrip("\r")
    if not secret or "\0" in secret:
        raise sign_in_trouble(f"{what} file {path} has no {what} on its first line")
    return secret


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)

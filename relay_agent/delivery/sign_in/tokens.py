# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens for upstream relays: fetched from an endpoint (RFC 6749) or by a program, and kept while they last."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus, urlencode, urlsplit

from relay_agent.delivery.outcome import HostTrouble
from relay_agent.delivery.reply import printable
from relay_agent.delivery.resolve import Resolver, UnresolvedError
from relay_agent.delivery.sign_in.credentials import TokenSource, first_line, sign_in_trouble
from relay_agent.delivery.tls.https import Answer, FetchError, HttpsClient
from relay_agent.observability import measured

__all__ = ["TokenKeeper", "read_answer"]

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*", re.ASCII)  # b64token (RFC 6750 2.1)
_ERROR = re.compile(r"[A-Za-z0-9_.-]{1,60}", re.ASCII)
_MOST_BYTES = 65_536
_EARLY = 60.0  # seconds before its end that a token is replaced
_UNTOLD = 300.0  # seconds that a token is kept when nobody says how long it is good for
_LONGEST = 86_400.0
_COMMAND_TIME = 30.0  # seconds
_REFUSED_FOR = 5.0  # seconds that a failure answers for those who ask next


@dataclass(slots=True)
class _Kept:
    """Times of the monotonic clock. trouble: why there is no token."""

    token: str = field(default="", repr=False)
    good_until: float = 0.0
    trouble: HostTrouble | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TokenKeeper:
    """The tokens of one delivery side, by their source; each is fetched once for all that wait for it."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._kept: dict[TokenSource, _Kept] = {}
        self._clients: dict[tuple[Path | None, int], HttpsClient] = {}

    async def close(self) -> None:
        """Begin no more requests."""
        for client in self._clients.values():
            client.close()

    async def token(self, source: TokenSource, *, instead_of: str = "") -> tuple[str, bool]:
        """A token, and whether it was fetched just now. instead_of: one that the server did not take.

        Raises HostTrouble, without a secret in it.
        """
        kept = self._kept.setdefault(source, _Kept())
        async with kept.lock:
            now = time.monotonic()
            if now < kept.good_until:
                if kept.trouble is not None:
                    raise HostTrouble(kept.trouble.outcome)
                if kept.token != instead_of:
                    return kept.token, False
            try:
                kept.token, lifetime = await (_by_command(source) if source.command else self._by_request(source))
            except HostTrouble as trouble:
                measured.TOKENS["failed"] += 1
                kept.token, kept.trouble, kept.good_until = "", trouble, now + _REFUSED_FOR
                raise
            measured.TOKENS["fetched"] += 1
            # A short-lived one is used for half of its time at least.
            kept.good_until = now + max(min(lifetime, _LONGEST) - _EARLY, lifetime / 2)
            kept.trouble = None
            return kept.token, True

    async def _by_request(self, source: TokenSource) -> tuple[str, float]:
        parts = urlsplit(source.url)
        host, port = parts.hostname or "", parts.port or 443
        form = {"grant_type": "client_credentials"}
        if source.refresh_token_file is not None:
            form = {"grant_type": "refresh_token"}
            form["refresh_token"] = await first_line(source.refresh_token_file, "refresh token")
        if source.scope is not None:
            form["scope"] = source.scope
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = await first_line(source.client_secret_file, "secret") if source.client_secret_file else None
        if secret is None or source.client_auth == "post":
            form["client_id"] = source.client_id
            if secret is not None:
                form["client_secret"] = secret
        else:
            pair = f"{quote_plus(source.client_id)}:{quote_plus(secret)}"  # RFC 6749 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        client = self._clients.get((source.ca_file, port))
        if client is None:
            client = self._clients[source.ca_file, port] = HttpsClient(source.ca_file, port)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            addresses = await self._resolver.upstream_addresses(host)
            answer = await client.request(
                host, addresses, path, most=_MOST_BYTES, content=urlencode(form).encode(), headers=headers
            )
        except UnresolvedError as error:
            raise _no_token(source, error.outcome.text) from None
        except FetchError as error:
            raise _no_token(source, str(error)) from None
        return read_answer(source, answer)


def _no_token(source: TokenSource, why: str) -> HostTrouble:
    return sign_in_trouble(f"no access token from {source.label}: {printable(why, 300)}", status="4.7.0")


def read_answer(source: TokenSource, answer: Answer) -> tuple[str, float]:
    """The token and for how many seconds it is good (RFC 6749 5.1). Raises HostTrouble.

    Of an error its code is told and no more: the rest of it may repeat what we sent.
    """
    try:
        said = json.loads(answer.content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise _no_token(source, f"HTTP status {answer.status} without a JSON object")
    if answer.status != 200:
        code = said.get("error")
        words = f" ({code})" if isinstance(code, str) and _ERROR.fullmatch(code) else ""
        raise _no_token(source, f"HTTP status {answer.status}{words}")
    token, lifetime = said.get("access_token"), said.get("expires_in", _UNTOLD)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise _no_token(source, "the answer has no access_token")
    if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdigit():
        lifetime = float(lifetime[:12])  # some write a number in quotes
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime < 1e12:
        lifetime = _UNTOLD
    return token, float(lifetime)


async def _by_command(source: TokenSource) -> tuple[str, float]:
    """What the program prints first. What it says on stderr is nobody's to see: it may hold secrets."""
    try:
        process = await asyncio.create_subprocess_exec(
            *source.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise _no_token(source, f"cannot be run: {error.strerror or error}") from None
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(_COMMAND_TIME):
            while len(output) <= _MOST_BYTES and (block := await process.stdout.read(_MOST_BYTES)):
                output += block
            if len(output) > _MOST_BYTES:
                raise _no_token(source, f"it prints more than {_MOST_BYTES} bytes")
            status = await process.wait()
    except TimeoutError:
        raise _no_token(source, f"it takes longer than {_COMMAND_TIME:.0f} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own children, too: they hold the pipe
            await asyncio.shield(process.wait())
    if status:
        raise _no_token(source, f"it ended with status {status}")
    token = output.partition(b"\n")[0].strip().decode("ascii", "replace")
    if not _TOKEN.fullmatch(token):
        raise _no_token(source, "its first line is no access token")
    return token, _UNTOLD

# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that an issuer of tokens signs with: a JWK Set (RFC 7517) from a file or, in the background, a URL."""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from relay_agent.config.schema import OAuth

__all__ = ["KeySource", "KeysUnavailableError"]

_LARGEST = 1_048_576  # bytes
_TIMEOUT = 10.0  # seconds
_AGAIN = 60.0  # seconds between two fetches that failed, or that were made for a key nobody knows


class KeysUnavailableError(Exception):
    """There are no keys to check with now; the text says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The keys decide who may send: they come from the address that the operator wrote down, or not at all."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class KeySource:
    """The keys of one issuer. clock: seconds that never go back."""

    def __init__(self, config: OAuth, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._keys: list[PyJWK] = []
        self._fetched: float | None = None  # when the keys that are here came
        self._tried: float | None = None
        self._problem = "they were not fetched yet"
        self._fetching: asyncio.Task[None] | None = None

    def prefetch(self) -> None:
        """Begin to fetch, unless the keys are here and fresh. Returns at once; needs a running event loop."""
        now = self._clock()
        fresh = self._fetched is not None and now - self._fetched < self._config.refresh
        if not fresh and (self._tried is None or now - self._tried >= _AGAIN):
            self._begin(now)

    async def find(self, key_id: str | None) -> PyJWK | None:
        """The key of this id; without an id the only key there is. None when there is none such.

        Old keys are used while new ones are fetched. Raises KeysUnavailableError when there are none at all.
        """
        self.prefetch()
        found = self._find(key_id)
        if found is None:
            # The issuer may have begun to use a new key; a stranger's invented ids must not make us fetch all day.
            now = self._clock()
            if self._fetching is None and (self._tried is None or now - self._tried >= _AGAIN):
                self._begin(now)
            if self._fetching is not None:
                await asyncio.shield(self._fetching)
                found = self._find(key_id)
        if found is None and self._fetched is None:
            raise KeysUnavailableError(self._problem)
        return found

    def _find(self, key_id: str | None) -> PyJWK | None:
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == key_id), None)

    def _begin(self, now: float) -> None:
        self._tried = now
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            data = await asyncio.to_thread(_read, self._config)
            keys = [key for key in PyJWKSet.from_json(data.decode()).keys if _signs(key, self._config.algorithms)]
            if not keys:
                raise ValueError(f"no key for {', '.join(self._config.algorithms)} among them")
            self._keys, self._fetched = keys, self._clock()
        except (OSError, ValueError, PyJWTError) as error:
            self._problem = str(error) or type(error).__name__
        finally:
            self._fetching = None


def _signs(key: PyJWK, algorithms: tuple[str, ...]) -> bool:
    """Whether a key may be used at all: for signatures, and by an algorithm that the operator named."""
    return key.algorithm_name in algorithms and key.public_key_use in (None, "sig")


def _read(config: OAuth) -> bytes:
    if config.jwks_file is not None:
        data = _bounded(config.jwks_file)
    else:
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())
        try:
            with opener.open(str(config.jwks_url), timeout=_TIMEOUT) as response:
                data = response.read(_LARGEST + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(f"{config.jwks_url}: HTTP status {error.code}") from None
    if len(data) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} bytes")
    return data


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST + 1)

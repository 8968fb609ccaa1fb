# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens in the form of a JWT (RFC 9068): is this one the issuer's, for us, and for whom?"""

from __future__ import annotations

from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from relay_agent.config.schema import OAuth

from .keys import KeySource, KeysUnavailableError

__all__ = ["KeysUnavailableError", "TokenChecker", "TokenError"]

_LONGEST = 16_384  # characters


class TokenError(Exception):
    """The token is not good; the text says why, for the log. The client is told nothing of it."""


class TokenChecker:
    """Checks tokens by `[oauth]` of the configuration."""

    def __init__(self, config: OAuth, keys: KeySource | None = None) -> None:
        self._config = config
        self.keys = keys or KeySource(config)

    async def check(self, token: str) -> str:
        """The name that the token is for, from the claim `account_claim`.

        The algorithm must be one that was configured and that of the key: a token does not choose how it is
        checked (RFC 8725 3.1). Raises TokenError, and KeysUnavailableError when nothing can be checked now.
        """
        if len(token) > _LONGEST:
            raise TokenError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError) as error:
            raise TokenError(f"it is no JWT: {error}") from None
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenError("its key id is not text")
        key = await self.keys.find(key_id)
        if key is None:
            raise TokenError("it was signed with a key that the issuer does not publish")
        config = self._config
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list({key.algorithm_name} & set(config.algorithms)),
                audience=list(config.audience),
                issuer=config.issuer,
                leeway=config.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except PyJWTError as error:
            raise TokenError(str(error)) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise TokenError(f"it cannot be read: {error}") from None
        name = claims.get(config.account_claim)
        if not isinstance(name, str) or not name:
            raise TokenError(f"it has no claim {config.account_claim!r}")
        if config.account_claim == "email" and claims.get("email_verified", True) is not True:
            raise TokenError("its address was never verified by the issuer")
        return name

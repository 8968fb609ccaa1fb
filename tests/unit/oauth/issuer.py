# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity provider for tests: keys, their JWK Set, and tokens."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "https://login.example.org/"


class Issuer:
    """Signs with one key of this id."""

    def __init__(self, key_id: str = "one") -> None:
        self.key_id = key_id
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwk(self) -> dict[str, Any]:
        return {**ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": self.key_id, "use": "sig"}

    def token(self, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token for alice@example.org, with these claims instead; None drops one."""
        given = {
            "iss": ISSUER,
            "aud": "postroad",
            "exp": int(time.time()) + 600,
            "email": "alice@example.org",
            **claims,
        }
        kept = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(kept, self.key, algorithm="ES256", headers=headers or {"kid": self.key_id})


def key_set(*issuers: Issuer) -> str:
    return json.dumps({"keys": [issuer.jwk() for issuer in issuers]})

# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from relay_agent.config.schema import OAuth
from relay_agent.oauth.tokens import KeysUnavailableError, TokenChecker, TokenError

from .issuer import ISSUER, Issuer, key_set


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def checker(tmp_path: Path, issuer: Issuer) -> TokenChecker:
    path = tmp_path / "keys.json"
    path.write_text(key_set(issuer, Issuer("two")))
    return TokenChecker(OAuth(issuer=ISSUER, audience=("postroad", "other"), jwks_file=path))


async def test_a_good_token_names_the_account(checker: TokenChecker, issuer: Issuer) -> None:
    assert await checker.check(issuer.token()) == "alice@example.org"
    assert await checker.check(issuer.token(aud=["x", "other"])) == "alice@example.org"
    assert await checker.check(issuer.token(email_verified=True)) == "alice@example.org"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"iss": "https://evil.example/"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "somebody"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "."),
        ({"nbf": int(time.time()) + 600}, "not yet valid"),
        ({"email": None}, "no claim 'email'"),
        ({"email": 7}, "no claim 'email'"),
        ({"email_verified": False}, "never verified"),
    ],
)
async def test_claims_that_are_not_good(
    checker: TokenChecker, issuer: Issuer, claims: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TokenError, match=problem):
        await checker.check(issuer.token(**claims))


def unsigned(claims: str) -> str:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    return f"{part(json.dumps({'alg': 'none', 'kid': 'one'}))}.{part(claims)}."


async def test_a_token_does_not_choose_how_it_is_checked(checker: TokenChecker, issuer: Issuer) -> None:
    claims = {"iss": ISSUER, "aud": "postroad", "exp": int(time.time()) + 600, "email": "alice@example.org"}
    # The public key as the secret of an HMAC, and no signature at all.
    public = issuer.jwk()["x"] * 2
    for token in (jwt.encode(claims, public, algorithm="HS256", headers={"kid": "one"}), unsigned(json.dumps(claims))):
        with pytest.raises(TokenError):
            await checker.check(token)


async def test_keys_that_are_not_the_issuers(checker: TokenChecker, issuer: Issuer) -> None:
    await checker.check(issuer.token())
    with pytest.raises(TokenError, match="does not publish"):
        await checker.check(Issuer("three").token())
    with pytest.raises(TokenError, match="Signature"):
        await checker.check(Issuer("one").token())
    with pytest.raises(TokenError, match="does not publish"):  # no id, and more than one key
        await checker.check(issuer.token(headers={"typ": "JWT"}))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.e30", "x" * 20_000, "\udcff"])
async def test_no_tokens_at_all(checker: TokenChecker, token: str) -> None:
    with pytest.raises(TokenError):
        await checker.check(token)


async def test_without_keys_nothing_is_decided(tmp_path: Path, issuer: Issuer) -> None:
    path = tmp_path / "keys.json"
    for content in (
        None,
        "no json",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "AAAA", "kid": "one", "alg": "HS256"}]}',
    ):
        if content is not None:
            path.write_text(content)
        with pytest.raises(KeysUnavailableError):
            await TokenChecker(OAuth(issuer=ISSUER, audience=("postroad",), jwks_file=path)).check(issuer.token())

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay_agent.dkim.keys import Algorithm, Key, KeyState, check_selector, make_key, parse_key, render_key

from .oracle import NOW, key, made


def pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def same(one: Key, other: Key) -> bool:
    return replace(one, private=other.private) == other and one.public() == other.public()


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("state", KeyState)
def test_a_key_s_file_gives_the_key_back(algorithm: Algorithm, state: KeyState) -> None:
    one = key(algorithm, state=state)
    assert same(parse_key(render_key(one), one.domain, one.selector), one)


def test_a_new_key_is_pending_and_its_secret_is_not_shown() -> None:
    new = make_key("alpha.test", "s", Algorithm.RSA, NOW)
    assert (new.state, new.created, new.since) == (KeyState.PENDING, NOW, NOW)
    assert isinstance(new.private, rsa.RSAPrivateKey)
    assert new.private.key_size == 2048
    assert "private" not in repr(new)


def test_plain_pem_is_an_active_key() -> None:
    given = parse_key(pem(rsa_key(2048)), "alpha.test", "s", given=True)
    assert (given.state, given.since, given.given) == (KeyState.ACTIVE, None, True)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no key"),
        (b"garbage", "no key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (pem(rsa_key(1024)), "1024 bits"),
        (pem(rsa_key(2048), b"secret"), "passphrase"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no use"),
        (b"State: sleeping\n" + render_key(made(Algorithm.ED25519)).partition(b"\n")[2].partition(b"\n")[2], "state"),
        (render_key(made(Algorithm.ED25519)).replace(b"Since: 2026", b"Since: then"), "Since"),
    ],
)
def test_a_file_that_is_none_is_told_without_its_content(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as told:
        parse_key(content, "alpha.test", "s")
    assert "AAAA" not in str(told.value)


def test_a_key_whose_numbers_do_not_fit_is_found_out() -> None:
    numbers = rsa_key(2048).private_numbers()
    broken = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d + 2,
        dmp1=numbers.dmp1 + 2,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    with pytest.raises(ValueError, match="damaged"):
        parse_key(pem(broken), "alpha.test", "s")


@pytest.mark.parametrize(("selector", "kept"), [("2026a", "2026a"), ("S1", "s1"), ("a.b-c", "a.b-c"), ("x", "x")])
def test_selectors(selector: str, kept: str) -> None:
    assert check_selector(selector) == kept


@pytest.mark.parametrize(
    "selector", ["", ".", "a..b", "-a", "a-", "a_b", "a/b", "../x", "a b", "ä", "a" * 64, "a." * 61]
)
def test_what_is_no_selector(selector: str) -> None:
    with pytest.raises(ValueError, match="not a selector"):
        check_selector(selector)

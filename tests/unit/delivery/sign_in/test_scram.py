# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's side of SCRAM-SHA-256: the RFC's example, our own server, and servers that cheat."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.accounts.scram import make_scram, parse_scram
from relay_agent.delivery.sign_in.scram import ScramClient, ScramRefusedError
from relay_agent.submission.scram import ScramDialogue

NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def test_the_example_of_rfc_7677() -> None:
    client = ScramClient("user", NONCE)
    assert client.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.answer(CHALLENGE, "pencil") == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("user", ["a", "a,b=c", "j\u00fcrgen"])
def test_our_own_server_takes_it(user: str) -> None:
    server, client = ScramDialogue(), ScramClient(user)
    assert server.begin(client.first()) == user
    final = client.answer(server.challenge(parse_scram(make_scram("p\u00e4ss", iterations=4096))), "p\u00e4ss")
    shown = server.finish(final)
    assert shown is not None
    client.check(shown)


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        (b"", "not what SCRAM has"),
        (b"\xff", "not what SCRAM has"),
        (b"m=x," + CHALLENGE, "not what SCRAM has"),
        (CHALLENGE.replace(b"W22Z", b"W2.Z"), "not what SCRAM has"),
        (CHALLENGE.replace(b"==,", b"=,"), "not what SCRAM has"),
        (CHALLENGE.replace(b"rOpr", b"rOps"), "not for our question"),
        (b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "not for our question"),
        (CHALLENGE.replace(b"4096", b"1"), "1 iterations"),
        (CHALLENGE.replace(b"4096", b"999999999"), "999999999 iterations"),
    ],
)
def test_challenges_that_are_none(challenge: bytes, words: str) -> None:
    with pytest.raises(ScramRefusedError, match=words):
        ScramClient("user", NONCE).answer(challenge, "pencil")


@pytest.mark.parametrize(
    "final", [b"", b"v=", b"v=####", b"v=" + base64.b64encode(bytes(32)), b"e=invalid-proof", b"6rri"]
)
def test_a_server_that_does_not_know_the_password(final: bytes) -> None:
    client = ScramClient("user", NONCE)
    with pytest.raises(ScramRefusedError):
        client.check(final)
    client.answer(CHALLENGE, "pencil")
    with pytest.raises(ScramRefusedError):
        client.check(final)


@given(st.binary(max_size=200))
def test_nothing_a_server_says_raises_anything_else(challenge: bytes) -> None:
    client = ScramClient("user", NONCE)
    with pytest.raises(ScramRefusedError):
        client.answer(challenge, "pencil")

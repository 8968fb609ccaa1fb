# SPDX-License-Identifier: GPL-3.0-or-later
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.accounts.scram import make_scram, parse_scram
from relay_agent.submission.scram import ScramDialogue, ScramError

KEYS = parse_scram(make_scram("pencil", iterations=4096, salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")))
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def dialogue() -> ScramDialogue:
    return ScramDialogue(nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")


def test_the_example_of_rfc_7677() -> None:
    server = dialogue()
    assert server.begin(FIRST) == "user"
    assert server.challenge(KEYS) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert server.finish(FINAL) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_another_password() -> None:
    server = dialogue()
    server.begin(FIRST)
    server.challenge(parse_scram(make_scram("pen", iterations=4096)))
    assert server.finish(FINAL) is None


def test_each_nonce_is_another() -> None:
    challenges = set()
    for _ in range(10):
        server = ScramDialogue()
        server.begin(FIRST)
        challenges.add(server.challenge(KEYS))
    assert len(challenges) == 10


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (b"y,,n=user,r=x", "user"),
        (b"n,a=user,n=user,r=x", "user"),
        (b"n,,n=a=2Cb=3Dc,r=x,e=extension", "a,b=c"),
        ("n,,n=jürgen,r=x".encode(), "jürgen"),
    ],
)
def test_first_messages(message: bytes, name: str) -> None:
    assert ScramDialogue().begin(message) == name


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,n=user",
        b"n,,n=,r=x",
        b"n,,n=user,r=",
        b"n,,n=us=er,r=x",
        b"n,,n=user,r=a b",
        b"n,,m=x,n=user,r=x",
        b"n,a=other,n=user,r=x",
        b"p=tls-unique,,n=user,r=x",
        b"x,,n=user,r=x",
        b"n,,n=\xff,r=x",
        b"n,,n=a\0b,r=x",
        b"n,,n=user,r=" + b"x" * 600,
    ],
)
def test_first_messages_that_are_none(message: bytes) -> None:
    with pytest.raises(ScramError):
        ScramDialogue().begin(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        FINAL.replace(b"c=biws", b"c=eSws"),
        FINAL.replace(b"c=biws", b"c=biw"),
        FINAL.replace(b"$k0,", b"$k1,"),
        FINAL.replace(b",p=", b",q="),
        FINAL[:-8],
        FINAL[:-4],
        FINAL + b",x=y",
        b"r=x,c=biws,p=AAAA",
    ],
)
def test_final_messages_that_are_none(message: bytes) -> None:
    server = dialogue()
    server.begin(FIRST)
    server.challenge(KEYS)
    with pytest.raises(ScramError):
        server.finish(message)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_anything_else_is_an_error_and_never_a_success(first: bytes, final: bytes) -> None:
    server = dialogue()
    with pytest.raises(ScramError):
        server.begin(b"n,,n=user,r=\0" + first)
    server.begin(FIRST)
    server.challenge(KEYS)
    with pytest.raises(ScramError):
        server.finish(final)

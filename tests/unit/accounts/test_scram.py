# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import hashlib

import pytest

from relay_agent.accounts.scram import ITERATIONS, make_scram, parse_scram, prepare_scram_password


def test_the_keys_of_rfc_7677() -> None:
    # RFC 7677 3: user "user", password "pencil"; the keys are known from PostgreSQL for the same salt.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    keys = parse_scram(make_scram("pencil", iterations=4096, salt=salt))
    assert (keys.iterations, keys.salt) == (4096, salt)
    assert base64.b64encode(keys.stored_key) == b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    assert base64.b64encode(keys.server_key) == b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


def test_each_time_another_salt_and_the_usual_cost() -> None:
    assert make_scram("x", iterations=4096) != make_scram("x", iterations=4096)
    assert parse_scram(make_scram("x")).iterations == ITERATIONS
    assert "stored_key" not in repr(parse_scram(make_scram("x", iterations=4096)))


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", b"pencil"),
        ("I\u00adX", b"IX"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("p\u0061\u0308ss", "päss".encode()),
        (b"\xff\xfe", b"\xff\xfe"),
        ("ä\u0007", "ä\u0007".encode()),
    ],
)
def test_saslprep(password: str | bytes, prepared: bytes) -> None:
    assert prepare_scram_password(password) == prepared


GOOD = make_scram("x", iterations=4096)


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + "=",
        GOOD.replace("SHA-256", "SHA-1"),
        GOOD.replace("$4096:", "$4095:"),
        GOOD.replace("$4096:", "$10000001:"),
        GOOD.replace("$4096:", "$:"),
        "SCRAM-SHA-256$4096:" + "A" * 9 + "$" + ("A" * 43 + "=:") + "A" * 43 + "=",
    ],
)
def test_damaged_keys(text: str) -> None:
    with pytest.raises(ValueError, match="scram"):
        parse_scram(text)


def test_a_key_is_a_hash() -> None:
    assert len(parse_scram(GOOD).stored_key) == hashlib.sha256().digest_size

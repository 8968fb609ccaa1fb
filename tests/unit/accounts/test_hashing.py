# SPDX-License-Identifier: GPL-3.0-or-later
import statistics
import time

import pytest

from relay_agent.accounts.hashing import (
    DUMMY_HASH,
    check_hash,
    hash_password,
    prepare_password,
    verify_password,
)


def test_a_hash_fits_its_password_and_no_other() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(hashed, b"correct horse")
    assert not verify_password(hashed, b"correct horsf")
    assert hash_password("correct horse") != hashed  # salted


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("scho\u0308n", "sch\u00f6n"), ("a\u00a0b", "a b"), ("a\u3000b", "a b"), ("Ab", "Ab")],
)
def test_the_same_password_typed_on_two_devices_is_one(typed: str, kept: str) -> None:
    assert prepare_password(typed) == kept.encode() == prepare_password(typed.encode())
    assert verify_password(hash_password(kept), typed)


def test_bytes_that_are_not_utf8_are_kept_as_they_are() -> None:
    assert prepare_password("schön".encode("latin-1")) == b"sch\xf6n"
    assert verify_password(hash_password(b"sch\xf6n"), b"sch\xf6n")


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025])
def test_what_cannot_be_a_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="password"):
        hash_password(password)


def test_a_longer_password_does_not_fit_by_being_cut() -> None:
    hashed = hash_password("x" * 1024)
    assert verify_password(hashed, "x" * 1024)
    assert not verify_password(hashed, "x" * 1025)


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "secret",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2i$v=19$m=19456,t=2,p=1$cG9zdHJvYWQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=9999999,t=2,p=1$cG9zdHJvYWQtbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=200,p=1$cG9zdHJvYWQtbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        DUMMY_HASH + "\n",
    ],
)
def test_a_hash_of_another_kind_or_too_dear_is_refused(hashed: str) -> None:
    with pytest.raises(ValueError, match="hash"):
        check_hash(hashed)


def test_a_damaged_hash_fits_nothing() -> None:
    assert not verify_password("$argon2id$v=19$m=19456", "x")


def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    check_hash(DUMMY_HASH)
    hashed = hash_password("secret")

    def seconds(which: str) -> float:
        begun = time.process_time()
        assert not verify_password(which, "wrong")
        return time.process_time() - begun

    pairs = [(seconds(hashed), seconds(DUMMY_HASH)) for _ in range(7)]
    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2

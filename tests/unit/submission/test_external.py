# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from relay_agent.accounts.store import Account
from relay_agent.submission.external import CertificateError, account_of, certified_names, read_authorization
from relay_agent.submission.sign_in import SignInError

NOW = 1_800_000_000.0  # January 2027
ALICE, BOB = Account("alice@a.test", "hash"), Account("bob@b.test", "hash")


def certificate(*emails: str, common_name: tuple[str, ...] = (), ends: str = "Jan 31 00:00:00 2027 GMT") -> Any:
    """What `getpeercert` makes of one."""
    found: dict[str, Any] = {"notAfter": ends, "subject": tuple((("commonName", name),) for name in common_name)}
    if emails:
        found["subjectAltName"] = tuple(("email", each) for each in emails)
    return found


def accounts(name: str) -> Account | None:
    return {each.name: each for each in (ALICE, BOB)}.get(name)


def test_the_addresses_of_the_alternative_name_in_their_order() -> None:
    found = certificate("Bob@B.test", "alice@a.test", "bob@b.test")
    found["subjectAltName"] += (("DNS", "carol@c.test"), ("URI", "mailto:carol@c.test"))
    assert certified_names(found, NOW) == ("bob@b.test", "alice@a.test")


def test_the_common_name_where_there_is_no_alternative_name() -> None:
    assert certified_names(certificate(common_name=("Alice@a.test",)), NOW) == ("alice@a.test",)
    assert certified_names(certificate("bob@b.test", common_name=("alice@a.test",)), NOW) == ("bob@b.test",)
    with_host = certificate(common_name=("alice@a.test",)) | {"subjectAltName": (("DNS", "a.test"),)}
    assert certified_names(with_host, NOW) == ()
    assert certified_names(certificate(common_name=("alice@a.test", "bob@b.test")), NOW) == ()
    assert certified_names(certificate(), NOW) == ()


@pytest.mark.parametrize(
    "name",
    [
        "alice",
        "@",
        "",
        "alice@",
        "alice@a.test\0.evil.test",
        "alice@a.test\r\n",
        "alice @a.test",
        "alice@ban\u212a.test",  # the Kelvin sign, whose lower case is k
        "a" * 300 + "@a.test",
    ],
)
def test_what_is_no_address_is_nobody(name: str) -> None:
    assert certified_names(certificate(name), NOW) == ()
    assert certified_names(certificate(common_name=(name,)), NOW) == ()


def test_nothing_is_left_of_a_certificate_that_has_ended() -> None:
    """It was good when the TLS session began that is resumed now."""
    assert certified_names(certificate("alice@a.test", ends="Jan  1 00:00:00 2027 GMT"), NOW) == ()
    assert certified_names({}, NOW) == ()


def test_the_first_name_that_has_an_account() -> None:
    assert account_of(("x@x.test", "bob@b.test", "alice@a.test"), "", accounts) is BOB


def test_an_authorization_identity_has_to_be_in_the_certificate() -> None:
    names = ("bob@b.test", "alice@a.test", "x@x.test")
    assert account_of(names, "Alice@A.test", accounts) is ALICE
    for wanted, problem in (
        ("carol@c.test", "the certificate is for bob@b.test, alice@a.test, x@x.test"),
        ("a b", "the certificate is for"),
        ("x@x.test", "x@x.test: no such account, or it is disabled"),
    ):
        with pytest.raises(CertificateError, match=problem):
            account_of(names, wanted, accounts)
    with pytest.raises(CertificateError, match=r"bob@b\.test"):
        account_of(("bob@b.test",), "alice@a.test", accounts)


def test_a_certificate_of_nobody() -> None:
    with pytest.raises(CertificateError, match="no e-mail address"):
        account_of((), "", accounts)
    with pytest.raises(CertificateError, match=r"x@x\.test: no such account"):
        account_of(("x@x.test",), "", accounts)


def test_the_response() -> None:
    assert read_authorization(b"") == ""
    assert read_authorization("jörg@a.test".encode()) == "jörg@a.test"
    for message in (b"\xff", b"alice@a.test\0"):
        with pytest.raises(SignInError, match=r"501 5\.5\.2"):
            read_authorization(message)

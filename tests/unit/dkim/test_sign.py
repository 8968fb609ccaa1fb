# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_agent.dkim.canonicalise import RelaxedBody
from relay_agent.dkim.keys import Algorithm, Key, KeyState
from relay_agent.dkim.sign import UnsignableError, names_to_sign, sign, signed_data, split_fields

from .oracle import both, key, verified

# RFC 8463 appendix A.
HEADER = (
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
)
BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
BODY_HASH = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
NAMES = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"]
ED25519_FIELD = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b="
)
ED25519_SECRET = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
ED25519_SIGNATURE = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
RSA_FIELD = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b="
)
RSA_PUBLIC = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91"
    "y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
RSA_SIGNATURE = (
    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2"
    "JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="
)


def digest(body: bytes) -> bytes:
    hashed = hashlib.sha256()
    form = RelaxedBody(hashed.update)
    form.update(body)
    form.finish()
    return hashed.digest()


def signed(header: bytes, body: bytes, keys: Sequence[Key], **options: int) -> bytes:
    fields = split_fields(header)
    return (
        sign(fields, digest(body), keys, now=options.pop("now", int(time.time())), **options) + header + b"\r\n" + body
    )


def test_the_body_hash_of_rfc_8463() -> None:
    assert base64.b64encode(digest(BODY)).decode() == BODY_HASH


def test_the_ed25519_signature_of_rfc_8463() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(ED25519_SECRET))
    brisbane = Key("football.example.com", "brisbane", KeyState.ACTIVE, private)
    assert brisbane.public() == "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    data = signed_data(split_fields(HEADER), NAMES, ED25519_FIELD)
    assert base64.b64encode(brisbane.sign(data)).decode() == ED25519_SIGNATURE


def test_the_rsa_signature_of_rfc_8463_fits_the_data_we_would_sign() -> None:
    public = serialization.load_der_public_key(base64.b64decode(RSA_PUBLIC))
    assert isinstance(public, rsa.RSAPublicKey)
    data = signed_data(split_fields(HEADER), NAMES, RSA_FIELD)
    public.verify(base64.b64decode(RSA_SIGNATURE), data, padding.PKCS1v15(), hashes.SHA256())


def test_both_signatures_verify() -> None:
    keys = both()
    message = signed(HEADER, BODY, keys)
    assert verified(message, keys) == [True, True]
    assert message.startswith(
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n\td=alpha.test;\r\n\ts=rsa; t="
    )
    assert b"i=" not in message[: message.index(b"bh=")]
    assert max(map(len, message.split(b"\r\n"))) <= 100


def test_an_expiry_is_said_when_wanted() -> None:
    message = signed(HEADER, BODY, [key()], now=1_800_000_000, lifetime=3600)
    assert b"; t=1800000000; x=1800003600\r\n" not in message  # every tag ends with a semicolon
    assert b"; t=1800000000; x=1800003600;\r\n" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Is", b"Subject: was"),
        (b"From: Joe", b"From: Jim"),
        (b"We lost", b"We won"),
        (b"Hi.\r\n", b"Hi.\r\n\r\n"),
        (b"To: ", b"Subject: another\r\nTo: "),
        (b"To: ", b"From: <ceo@alpha.test>\r\nTo: "),
        (b"To: ", b"Cc: <x@y.test>\r\nTo: "),
        (b"To: ", b"Reply-To: <x@y.test>\r\nTo: "),
    ],
)
def test_what_is_changed_or_put_in_on_the_way_shows(old: bytes, new: bytes) -> None:
    message = signed(HEADER, BODY, [key()])
    assert old in message
    assert verified(message.replace(old, new, 1), [key()]) == [False]


@pytest.mark.parametrize(
    "line", [b"List-Id: <l.test>", b"Content-Type: text/plain", b"X-Spam: no", b"Received: by x; y"]
)
def test_what_others_may_add_breaks_nothing(line: bytes) -> None:
    assert verified(signed(HEADER, BODY, [key()]).replace(b"To: ", line + b"\r\nTo: ", 1), [key()]) == [True]


def test_fields_are_named_as_often_as_they_are_there_and_once_more() -> None:
    names = names_to_sign(split_fields(b"from: a\r\nTO: b\r\nTo: c\r\nList-Id: d\r\nX-Other: e\r\n"))
    assert names.count("From") == 2
    assert names.count("To") == 3
    assert names.count("Cc") == 1
    assert names.count("List-Id") == 2
    assert names.count("Content-Type") == 0
    assert "X-Other" not in names


def test_a_field_s_lines_stay_together() -> None:
    fields = split_fields(b"Subject : a\r\n b\r\n\tc\r\n \r\nTo:\r\n")
    assert [(field.name, field.raw) for field in fields] == [
        (b"subject", b"Subject : a\r\n b\r\n\tc\r\n \r\n"),
        (b"to", b"To:\r\n"),
    ]


@pytest.mark.parametrize("header", [b"no field\r\n", b" folded: x\r\n", b": x\r\n", b"\xc3\xa4: x\r\n"])
def test_what_is_no_header_is_not_signed(header: bytes) -> None:
    with pytest.raises(UnsignableError):
        split_fields(header)


def test_a_header_of_a_hundred_thousand_lines_costs_no_time_and_no_signature() -> None:
    begun = time.process_time()
    assert len(split_fields(b"To: x\r\n" + b" y\r\n" * 100_000)) == 1
    with pytest.raises(UnsignableError, match="at most 200"):
        signed(b"To:\r\n" * 50_000, b"", [key()])
    assert time.process_time() - begun < 2


_VALUE = st.text(st.characters(blacklist_characters="\r\n\0\x0b\x0c\x1c\x1d\x1e\x1f\x85", codec="utf-8"), max_size=40)
_FOLDED = st.lists(_VALUE, min_size=1, max_size=4).map(
    lambda parts: "\r\n\t ".join(part.strip() or "x" for part in parts)
)
_NAME = st.sampled_from(
    ["From", "fRoM", "To", "Subject", "Date", "References", "List-Id", "X-Other", "Sender", "Received"]
)
_LINE = st.lists(st.sampled_from([b"word", b" ", b"  ", b"\t", b"\xe4\xff", b".", b"=", b"From x"]), max_size=8).map(
    b"".join
)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(_NAME, _FOLDED), min_size=1, max_size=12),
    st.lists(_LINE, max_size=10),
    st.integers(0, 4),
    st.booleans(),
)
def test_dkimpy_verifies_whatever_we_sign(
    fields: list[tuple[str, str]], lines: list[bytes], blank: int, ended: bool
) -> None:
    header = "".join(f"{name}: {value}\r\n" for name, value in [("From", "a@alpha.test"), *fields]).encode()
    body = b"\r\n".join(lines) + b"\r\n" * blank
    if ended or re.search(rb"[ \t]\Z", body):  # dkimpy does not trim a last line without an end
        body += b"\r\n"
    assert verified(signed(header, body, both()), both()) == [True, True]


def test_keys_sign_with_their_own_algorithm() -> None:
    assert [each.algorithm for each in both()] == [Algorithm.RSA, Algorithm.ED25519]

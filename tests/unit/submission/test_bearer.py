# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest

from relay_agent.submission.bearer import failure_message, read_bearer
from relay_agent.submission.sign_in import SignInError


@pytest.mark.parametrize(
    ("mechanism", "message", "found"),
    [
        # The example of RFC 7628 4.1.
        (
            "OAUTHBEARER",
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
            b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
            ("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
        ),
        ("OAUTHBEARER", b"n,,\x01auth=bearer  x\x01\x01", ("", "x")),
        ("OAUTHBEARER", b"n,a=a=2Cb=3Dc,\x01auth=Bearer x\x01\x01", ("a,b=c", "x")),
        ("XOAUTH2", b"user=alice@example.org\x01auth=Bearer x.y-z_\x01\x01", ("alice@example.org", "x.y-z_")),
    ],
)
def test_reads(mechanism: str, message: bytes, found: tuple[str, str]) -> None:
    assert read_bearer(mechanism, message) == found


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01\x01",
        b"n,,",
        b"n,,\x01\x01",
        b"n,,\x01auth=Bearer x\x01",
        b"n,,\x01auth=Basic x\x01\x01",
        b"n,,\x01auth=Bearer x y\x01\x01",
        b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
        b"n,,\x01auth\x01\x01",
        b"y,,\x01auth=Bearer \xff\x01\x01",
        b"p=x,,\x01auth=Bearer x\x01\x01",
        b"user=a\x01auth=Bearer x\0\x01\x01",
    ],
)
def test_refuses(mechanism: str, message: bytes) -> None:
    with pytest.raises(SignInError, match=r"501 5\.5\.2"):
        read_bearer(mechanism, message)


def test_the_failure_is_json() -> None:
    assert json.loads(failure_message("OAUTHBEARER"))["status"] == "invalid_token"
    assert json.loads(failure_message("XOAUTH2"))["status"] == "401"

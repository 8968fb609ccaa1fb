# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mechanism is taken, and what is said in it; the server is a script."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay_agent.delivery.client import Timeouts
from relay_agent.delivery.outcome import Cause, HostTrouble
from relay_agent.delivery.reply import Reply
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.sign_in.credentials import Credentials, TokenSource
from relay_agent.delivery.sign_in.dialogue import choose, sign_in
from relay_agent.delivery.sign_in.tokens import TokenKeeper

ALL = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "CRAM-MD5")
FILE, SOURCE = Path("/secret"), TokenSource(("/bin/token",))
PASSWORD = Credentials("u", FILE)
TOKEN = Credentials("u", tokens=SOURCE)
CERTIFICATE = Credentials(certificate=FILE, key=FILE)


@pytest.mark.parametrize(
    ("credentials", "offered", "expected"),
    [
        (PASSWORD, ALL, "SCRAM-SHA-256"),
        (PASSWORD, ("LOGIN", "PLAIN"), "PLAIN"),
        (PASSWORD, ("LOGIN",), "LOGIN"),
        (PASSWORD, ("CRAM-MD5", "XOAUTH2"), None),
        (TOKEN, ALL, "OAUTHBEARER"),
        (TOKEN, ("PLAIN", "XOAUTH2"), "XOAUTH2"),
        (TOKEN, ("PLAIN",), None),
        (CERTIFICATE, ALL, "EXTERNAL"),
        (Credentials("u", FILE, certificate=FILE, key=FILE), ("PLAIN", "EXTERNAL"), "EXTERNAL"),
        (Credentials("u", FILE, certificate=FILE, key=FILE), ("PLAIN",), "PLAIN"),
        (Credentials("u", FILE, mechanism="LOGIN"), ALL, "LOGIN"),
        (Credentials("u", FILE, mechanism="SCRAM-SHA-256"), ("PLAIN",), None),
    ],
)
def test_the_strongest_that_both_have(credentials: Credentials, offered: Sequence[str], expected: str | None) -> None:
    assert choose(credentials, offered) == expected


class _Server:
    """Stands for a connection with TLS: answers from a list, keeps what was said."""

    def __init__(self, offered: str, *answers: str, encrypted: bool = True) -> None:
        self.host = "smart.test"
        self.encrypted = encrypted
        self.extensions = {"AUTH": offered}
        self.timeouts = Timeouts()
        self.said: list[bytes] = []
        self._answers = list(answers)

    async def command(self, line: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as the real one
        self.said.append(line)
        code, _, text = self._answers.pop(0).partition(" ")
        return Reply(int(code), (text,))

    def abort(self) -> None:
        self.said.append(b"<cut>")


async def _sign_in(server: _Server, credentials: Credentials) -> None:
    resolver = Resolver((), "relay.test")
    try:
        await sign_in(server, credentials, TokenKeeper(resolver))  # type: ignore[arg-type]
    finally:
        await resolver.close()
    assert not server._answers


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret\nanother line\n")
    return path


def _plain(*parts: bytes) -> bytes:
    return base64.b64encode(b"".join(parts))


async def test_plain_and_login(secret: Path) -> None:
    server = _Server("PLAIN LOGIN", "235 ok")
    await _sign_in(server, Credentials("u", secret))
    assert server.said == [b"AUTH PLAIN " + _plain(b"\0u\0s3cret")]
    server = _Server("login", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok")
    await _sign_in(server, Credentials("u", secret))
    assert server.said == [b"AUTH LOGIN", _plain(b"u"), _plain(b"s3cret")]


async def test_a_long_response_has_a_line_of_its_own(secret: Path) -> None:
    await asyncio.to_thread(secret.write_text, "x" * 600)
    server = _Server("PLAIN", "334 ", "235 ok")
    await _sign_in(server, Credentials("u", secret))
    assert server.said == [b"AUTH PLAIN", _plain(b"\0u\0", b"x" * 600)]


async def test_external_says_who_only_if_told() -> None:
    server = _Server("EXTERNAL", "235 ok")
    await _sign_in(server, CERTIFICATE)
    assert server.said == [b"AUTH EXTERNAL ="]
    server = _Server("PLAIN")
    await _sign_in(server, CERTIFICATE)  # the handshake has shown it
    assert server.said == []


def _command(path: Path, *tokens: str) -> tuple[str, ...]:
    """A program that prints the next token at each run."""
    path.write_text("#!/bin/sh\nhead -n 1 $0.list\nsed -i 1d $0.list\n")
    path.chmod(0o755)
    Path(f"{path}.list").write_text("".join(f"{token}\n" for token in tokens))
    return (str(path),)


@pytest.mark.parametrize(
    ("mechanism", "shown", "closing"),
    [
        ("XOAUTH2", b"user=u\x01auth=Bearer %s\x01\x01", b""),
        ("OAUTHBEARER", b"n,a=u,\x01host=smart.test\x01auth=Bearer %s\x01\x01", b"AQ=="),
    ],
)
async def test_a_kept_token_that_is_refused_is_fetched_anew_once(
    tmp_path: Path, mechanism: str, shown: bytes, closing: bytes
) -> None:
    keeper = TokenKeeper(Resolver((), "relay.test"))
    credentials = Credentials("u", tokens=TokenSource(_command(tmp_path / "token", "one", "two", "three")))
    first = _Server(mechanism, "235 ok")
    await sign_in(first, credentials, keeper)  # type: ignore[arg-type]
    assert first.said == [b"AUTH %s %s" % (mechanism.encode(), _plain(shown % b"one"))]
    old = _Server(mechanism, "334 e30=", "535 5.7.8 expired", "235 ok")
    await sign_in(old, credentials, keeper)  # type: ignore[arg-type]
    assert old.said[1:] == [closing, b"AUTH %s %s" % (mechanism.encode(), _plain(shown % b"two"))]
    never = _Server(mechanism, "535 5.7.8 no", "535 5.7.8 still no")
    with pytest.raises(HostTrouble, match="still no"):
        await sign_in(never, credentials, keeper)  # type: ignore[arg-type]
    await keeper._resolver.close()


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        (["535 5.7.8 wrong"], "4.7.8", "sign-in refused: 535 5.7.8 wrong"),
        (["454 4.7.0 later"], "4.7.0", "sign-in refused: 454 4.7.0 later"),
        (["334 again", "501 broken off"], "4.7.8", "sign-in refused: 501 broken off"),
    ],
)
async def test_refusals_are_of_the_sign_in(secret: Path, answers: list[str], status: str, words: str) -> None:
    with pytest.raises(HostTrouble) as caught:
        await _sign_in(_Server("PLAIN", *answers), Credentials("u", secret))
    outcome = caught.value.outcome
    assert (outcome.status, outcome.text, outcome.cause) == (status, words, Cause.SIGN_IN)
    assert "s3cret" not in repr(caught.value.outcome)


async def test_a_server_that_cheats_at_scram_is_left(secret: Path) -> None:
    for answers in (["334 eA=="], ["334 eA==" + "x"]):
        server = _Server("SCRAM-SHA-256 PLAIN", *answers)
        with pytest.raises(HostTrouble, match="does not keep to SCRAM-SHA-256"):
            await _sign_in(server, Credentials("u", secret))
        assert server.said[-1] == b"<cut>"
        assert not any(line.startswith(b"AUTH PLAIN") for line in server.said)


async def test_never_without_tls(secret: Path) -> None:
    with pytest.raises(HostTrouble, match="without TLS"):
        await _sign_in(_Server("PLAIN", encrypted=False), Credentials("u", secret))


async def test_nothing_in_common(secret: Path) -> None:
    with pytest.raises(HostTrouble, match=r"\(SCRAM-SHA-256, PLAIN, LOGIN\), but: CRAM-MD5"):
        await _sign_in(_Server("CRAM-MD5"), Credentials("u", secret))

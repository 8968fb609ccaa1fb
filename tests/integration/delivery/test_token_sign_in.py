# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that goes on with access tokens: to another relay of ours, which checks them against its provider's keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.store import Account
from relay_agent.observability import measured
from tests.integration.certificates import Certificate, make_certificate
from tests.integration.submission.conftest import Running, account, running
from tests.ports import free_port
from tests.unit.oauth.issuer import ISSUER, Issuer, key_set

from .conftest import MakeRelay
from .token_host import TokenHost

__all__ = ["account", "running"]

NAME = "alice@example.org"  # for whom the provider's tokens are
SOURCES = ("command", "client_credentials", "refresh_token")
OTHER_NAME = {"hostname": "sending.test"}  # two relays of one name would be a circle


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The next relay's, and the token endpoint's."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "next.test", "localhost")


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token that the endpoint and the program give."""
    return tmp_path_factory.mktemp("token") / "token"


@pytest.fixture(scope="module")
def endpoint(certificate: Certificate, token_file: Path) -> Iterator[TokenHost]:
    host = TokenHost("127.0.0.1", free_port(), certificate.certificate, certificate.key, token_file)
    try:
        yield host.start()
    finally:
        host.stop()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    provider = Issuer()
    (tmp_path / "keys.json").write_text(key_set(provider))
    return provider


@pytest.fixture
def settings(tmp_path: Path, issuer: Issuer) -> str:
    """The next relay's configuration."""
    return f'[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_file = "{tmp_path}/keys.json"'


@pytest.fixture
def hop(endpoint: TokenHost, token_file: Path, certificate: Certificate, tmp_path: Path) -> Callable[..., Any]:
    """The next relay as an upstream relay, with tokens from one of SOURCES."""
    for name, text in (("secret", "s3cret:%\n"), ("refresh", "again\n")):
        (tmp_path / name).write_text(text)

    def make(source: str, port: int, mechanism: str) -> dict[str, Any]:
        common = {
            "host": "next.test",
            "port": port,
            "ca_file": str(certificate.certificate),
            "auth": mechanism,
            "username": NAME,
        }
        if source == "command":
            return common | {"token_command": ["/bin/cat", str(token_file)]}
        asked = {
            "token_url": f"https://localhost:{endpoint.port}/given/{source}",
            "token_ca_file": str(certificate.certificate),
            "client_id": "relay",
            "client_secret_file": str(tmp_path / "secret"),
        }
        return common | asked | ({"refresh_token_file": str(tmp_path / "refresh")} if source == "refresh_token" else {})

    return make


@pytest.mark.parametrize("mechanism", ["oauthbearer", "xoauth2"])
@pytest.mark.parametrize("source", SOURCES)
async def test_mail_goes_on_with_access_tokens(
    relay: MakeRelay,
    running: Running,
    account: Account,
    issuer: Issuer,
    settings: str,
    hop: Callable[..., Any],
    token_file: Path,
    source: str,
    mechanism: str,
) -> None:
    token = issuer.token()
    await asyncio.to_thread(token_file.write_text, token)
    succeeded = mechanism.upper(), "succeeded"
    before = [counter[succeeded] for counter in (measured.SIGN_INS, measured.UPSTREAM_SIGN_INS)]
    async with running(tls="starttls", settings=settings) as following:
        following.service.verifier.reload({NAME: replace(account, name=NAME)})
        sender = await relay(sections=OTHER_NAME, routes=[{"via": [hop(source, following.port, mechanism)]}])
        await sender.send("bob@beta.test", sender=NAME)
        await sender.outcome("delivered", seconds=20)
        (message,) = following.carrier.messages
        assert message.envelope.account == NAME
        after = [counter[succeeded] for counter in (measured.SIGN_INS, measured.UPSTREAM_SIGN_INS)]
        assert after == [each + 1 for each in before]
        for shown in (repr(sender.events.seen), following.log.getvalue()):
            assert token not in shown


async def test_a_token_that_is_refused_is_fetched_anew(
    relay: MakeRelay,
    running: Running,
    account: Account,
    issuer: Issuer,
    settings: str,
    hop: Callable[..., Any],
    token_file: Path,
) -> None:
    async with running(tls="starttls", settings=settings) as following:
        following.service.verifier.reload({NAME: replace(account, name=NAME)})
        await asyncio.to_thread(token_file.write_text, issuer.token(aud="somebody else"))
        sender = await relay(
            sections=OTHER_NAME, routes=[{"via": [hop("client_credentials", following.port, "oauthbearer")]}]
        )
        await sender.send("bob@beta.test", sender=NAME)
        (event,) = await sender.outcome("deferred", seconds=20)
        assert event["reply"].startswith("sign-in refused: 535")
        assert not following.carrier.messages
        await asyncio.to_thread(token_file.write_text, issuer.token())
        await sender.outcome("delivered", seconds=20)
        assert len(following.carrier.messages) == 1

# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens from a real HTTPS endpoint, and from programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.delivery.outcome import Cause, HostTrouble
from relay_agent.delivery.resolve import Resolver
from relay_agent.delivery.sign_in import tokens
from relay_agent.delivery.sign_in.credentials import TokenSource
from relay_agent.delivery.sign_in.tokens import TokenKeeper
from tests.integration.certificates import make_certificate
from tests.ports import free_port

from .token_host import TokenHost


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenHost]:
    directory = tmp_path_factory.mktemp("tokens")
    certificate = make_certificate(directory, "localhost")
    new = TokenHost("127.0.0.1", free_port(), certificate.certificate, certificate.key)
    try:
        yield new.start()
    finally:
        new.stop()


@pytest.fixture
def source(host: TokenHost, tmp_path: Path) -> TokenSource:
    secret, refresh = tmp_path / "secret", tmp_path / "refresh"
    secret.write_text("s3cret:%\n")
    refresh.write_text("again\n")
    return TokenSource(
        url=f"https://localhost:{host.port}/token",
        client_id="relay",
        client_secret_file=secret,
        ca_file=host.certificate,
    )


@pytest.fixture
async def keeper() -> AsyncIterator[TokenKeeper]:
    resolver = Resolver((), "relay.test")
    new = TokenKeeper(resolver)
    yield new
    await new.close()
    await resolver.close()


async def test_the_ways_to_ask(keeper: TokenKeeper, source: TokenSource, tmp_path: Path) -> None:
    token, fresh = await keeper.token(source)
    assert token.startswith("client_credentials.none.Basic.")
    assert fresh
    token, _ = await keeper.token(replace(source, client_auth="post", scope="smtp"))
    assert token.startswith("client_credentials.smtp.post.")
    token, _ = await keeper.token(replace(source, refresh_token_file=tmp_path / "refresh"))
    assert token.startswith("refresh_token.none.Basic.")


async def test_kept_and_fetched_anew_where_it_is_refused(keeper: TokenKeeper, source: TokenSource) -> None:
    first = await asyncio.gather(*(keeper.token(source) for _ in range(5)))
    assert len({token for token, _ in first}) == 1
    assert sum(fresh for _, fresh in first) == 1
    old = first[0][0]
    new, fresh = await keeper.token(source, instead_of=old)
    assert fresh
    assert new != old
    assert await keeper.token(source, instead_of=old) == (new, False)  # somebody has done it already


async def test_a_short_lived_one_is_replaced_before_its_end(keeper: TokenKeeper, source: TokenSource) -> None:
    short = replace(source, url=source.url.replace("/token", "/short"))
    first, _ = await keeper.token(short)
    assert (await keeper.token(short))[0] == first
    await asyncio.sleep(4.1)
    assert (await keeper.token(short))[0] != first


async def test_refusals_are_told_without_secrets(keeper: TokenKeeper, source: TokenSource, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hunter2\n")
    cases = [
        (replace(source, client_secret_file=wrong), r"HTTP status 401 \(invalid_client\)"),
        (replace(source, refresh_token_file=wrong), r"HTTP status 400 \(invalid_grant\)"),
        (replace(source, url=source.url.replace("/token", "/odd")), "the answer has no access_token"),
        (replace(source, ca_file=None), "certificate of localhost not accepted"),
        (replace(source, url="https://127.0.0.1:9/token"), "refused"),
        (replace(source, client_secret_file=tmp_path / "missing"), "secret file .* cannot be read"),
    ]
    for each, words in cases:
        for _ in range(2):  # the second answer is the kept one
            with pytest.raises(HostTrouble, match=words) as caught:
                await keeper.token(each)
            assert caught.value.outcome.cause is Cause.SIGN_IN
            assert "hunter2" not in caught.value.outcome.text


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo tok en", "no access token"),
        ("true", "no access token"),
        ("echo s3cret >&2; exit 3", "status 3"),
        ("sleep 60 & sleep 60", "longer than"),
        ("yes", "prints more"),
    ],
)
async def test_programs_that_give_none(
    keeper: TokenKeeper, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_COMMAND_TIME", 1.0 if words == "longer than" else 20.0)
    started = time.monotonic()
    with pytest.raises(HostTrouble, match=words) as caught:
        await keeper.token(TokenSource(("/bin/sh", "-c", script)))
    assert time.monotonic() - started < 20
    assert "s3cret" not in caught.value.outcome.text


async def test_a_program_that_is_none(keeper: TokenKeeper) -> None:
    with pytest.raises(HostTrouble, match="/nonexistent/program: cannot be run"):
        await keeper.token(TokenSource(("/nonexistent/program",)))


async def test_a_program_that_gives_one(keeper: TokenKeeper) -> None:
    source = TokenSource(("/bin/sh", "-c", 'echo "$0"; echo more', "t0ken.a-b_c~d+/=="))
    assert await keeper.token(source) == ("t0ken.a-b_c~d+/==", True)
    assert await keeper.token(source) == ("t0ken.a-b_c~d+/==", False)

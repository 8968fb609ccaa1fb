# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM-SHA-256 and sign-in by token, against a client written from the RFCs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

from relay_agent.accounts.scram import make_scram
from relay_agent.accounts.store import Account
from tests.unit.oauth.issuer import ISSUER, Issuer, key_set

from .conftest import PASSWORD, Client, Relay, Running


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def keyed(relay: Relay, account: Account) -> None:
    relay.service.verifier.reload({"alice": replace(account, scram=make_scram(PASSWORD, iterations=4096))})


async def scram(client: Client, name: str, password: str, *, ask_first: bool = False) -> str:
    """RFC 5802 3, the client's side; returns the reply's last line. Checks the server's signature."""
    bare = f"n={name},r=fyko+d2lbbFgONRv9qkxdawL"
    first = b64(f"n,,{bare}".encode())
    if ask_first:
        assert await client.ask("AUTH SCRAM-SHA-256") == "334 "
        answer = await client.ask(first)
    else:
        answer = await client.ask(f"AUTH SCRAM-SHA-256 {first}")
    if not answer.startswith("334 "):
        return answer
    server_first = base64.b64decode(answer[4:]).decode()
    fields = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    without = f"c=biws,r={fields['r']}"
    said = f"{bare},{server_first},{without}".encode()
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), said, "sha256")
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    answer = await client.ask(b64(f"{without},p={b64(proof)}".encode()))
    if not answer.startswith("334 "):
        return answer
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    assert base64.b64decode(answer[4:]) == b"v=" + b64(hmac.digest(server_key, said, "sha256")).encode()
    return await client.ask("")


async def hello(client: Client) -> list[str]:
    await client.send(b"EHLO laptop.test\r\n")
    return await client.reply()


async def test_scram(running: Running, account: Account) -> None:
    async with running(tls="implicit") as relay:
        client = await relay.connect()
        assert not any("SCRAM" in line for line in await hello(client))
        assert (await scram(client, "alice", PASSWORD))[:3] == "504"
        keyed(relay, account)
        assert any("AUTH SCRAM-SHA-256 " in line for line in await hello(client))
        assert (await scram(client, "alice", "wrong"))[:9] == "535 5.7.8"
        assert (await scram(client, "nobody", PASSWORD))[:9] == "535 5.7.8"
        assert (await scram(client, "Alice", PASSWORD, ask_first=True))[:9] == "235 2.7.0"
        assert (await client.ask("MAIL FROM:<a@b.test>"))[:3] == "250"
        await client.close()


async def test_scram_tells_nothing_about_names(running: Running, account: Account) -> None:
    async with running(tls="implicit") as relay:
        keyed(relay, account)

        async def salt(name: str) -> bytes:
            client = await relay.connect()
            await hello(client)
            answer = await client.ask(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={name},r=x'.encode())}")
            assert (await client.ask("*"))[:3] == "501"
            await client.close()
            return base64.b64decode(answer[4:]).split(b",")[1]

        assert await salt("nobody") == await salt("nobody")
        assert await salt("nobody") != await salt("nobody2")
        assert len(await salt("nobody")) == len(await salt("alice"))


async def test_scram_is_guarded_like_passwords(running: Running, account: Account) -> None:
    async with running(tls="implicit", settings="[policy]\nguesses = 2") as relay:
        keyed(relay, account)
        client = await relay.connect()
        await hello(client)
        for number in range(2):
            assert (await scram(client, "alice", f"wrong {number}"))[:3] == "535"
        assert (await scram(client, "alice", PASSWORD))[:9] == "454 4.7.0"
        assert len(relay.events("shut_out")) == 1
        await client.close()


async def test_scram_messages_that_are_none(running: Running, account: Account) -> None:
    async with running(tls="implicit") as relay:
        keyed(relay, account)
        client = await relay.connect()
        await hello(client)
        for message in (b"", b"n,,m=x,n=a,r=b", b"p=tls-exporter,,n=a,r=b", b"\xff"):
            assert (await client.ask(f"AUTH SCRAM-SHA-256 {b64(message) or '='}"))[:9] == "501 5.5.2"
        assert (await client.ask(f"AUTH SCRAM-SHA-256 {b64(b'n,,n=alice,r=x')}"))[:3] == "334"
        assert (await client.ask(b64(b"c=biws,r=y,p=AAAA")))[:9] == "501 5.5.2"
        await client.close()


def bearer(token: str, name: str = "") -> str:
    return b64(f"n,{f'a={name}' if name else ''},\x01host=relay.test\x01auth=Bearer {token}\x01\x01".encode())


async def test_access_tokens(running: Running, account: Account, tmp_path: Path) -> None:
    issuer, keys = Issuer(), tmp_path / "keys.json"
    keys.write_text(key_set(issuer))
    settings = f'[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_file = "{keys}"'
    async with running(tls="implicit", settings=settings) as relay:
        name = "alice@example.org"
        relay.service.verifier.reload({name: replace(account, name=name), "bob": replace(account, name="bob")})
        client = await relay.connect()
        assert any("OAUTHBEARER XOAUTH2 PLAIN LOGIN" in line for line in await hello(client))
        bad = {
            bearer(issuer.token(email="nobody@example.org")): "there is no such account",
            bearer(issuer.token(), name="bob"): "it is alice@example.org's",
            bearer(issuer.token(aud="other")): "Audience doesn't match",
            bearer(Issuer("one").token()): "Signature verification failed",
        }
        for response in bad:
            answer = await client.ask(f"AUTH OAUTHBEARER {response}")
            assert json.loads(base64.b64decode(answer.removeprefix("334 ")))["status"] == "invalid_token"
            assert (await client.ask("AQ==")) == "535 5.7.8 The access token is not good here"
        assert [event["problem"] for event in relay.events("auth_failed")] == list(bad.values())
        assert (await client.ask(f"AUTH OAUTHBEARER {b64(b'n,,')}"))[:9] == "501 5.5.2"
        assert (await client.ask("AUTH OAUTHBEARER"))[:4] == "334 "
        assert (await client.ask(bearer(issuer.token(), name="Alice@example.org")))[:3] == "235"
        assert (await client.ask("MAIL FROM:<alice@example.org>"))[:3] == "250"
        await client.close()
        client = await relay.connect()
        await hello(client)
        response = b64(f"user={name}\x01auth=Bearer {issuer.token()}\x01\x01".encode())
        assert (await client.ask(f"AUTH XOAUTH2 {response}"))[:3] == "235"
        await client.close()


async def test_a_token_may_be_as_long_as_providers_make_them(
    running: Running, account: Account, tmp_path: Path
) -> None:
    """RFC 4954 4.5 asks for 12288 octets; stock aiosmtpd takes 512 of the command, and 1001 of a line."""
    issuer, keys = Issuer(), tmp_path / "keys.json"
    keys.write_text(key_set(issuer))
    settings = f'[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_file = "{keys}"'
    async with running(tls="implicit", settings=settings) as relay:
        relay.service.verifier.reload({"alice@example.org": replace(account, name="alice@example.org")})
        for groups, code in ((6000, "235"), (9000, "500")):
            client = await relay.connect()
            await hello(client)
            response = bearer(issuer.token(groups="g" * groups))
            assert (len(response) < 12_000) == (code == "235")
            assert (await client.ask(f"AUTH OAUTHBEARER {response}"))[:3] == code
            await client.close()


async def test_tokens_without_the_issuers_keys(running: Running, tmp_path: Path) -> None:
    settings = f'[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_file = "{tmp_path}/none.json"'
    async with running(tls="implicit", settings=settings) as relay:
        client = await relay.connect()
        await hello(client)
        assert (await client.ask(f"AUTH OAUTHBEARER {bearer(Issuer().token())}"))[:9] == "454 4.7.0"
        assert len(relay.events("oauth_keys_unavailable")) == 1
        await client.close()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account may do: as whom it sends, how much, how large, and what guessing its password costs."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import replace
from typing import Any

import pytest

from relay_agent.accounts import verifier
from relay_agent.accounts.hashing import hash_password
from relay_agent.accounts.limits import AccountLimits
from relay_agent.accounts.store import Account

from .conftest import PASSWORD, Client, Relay, Running, eventually

HASH = hash_password(PASSWORD)


def give(relay: Relay, **fields: Any) -> None:
    """Alice's account with these fields."""
    relay.service.verifier.reload({"alice": Account("alice", HASH, **fields)})


async def sign_in(client: Client, password: str = PASSWORD, name: str = "alice") -> str:
    await client.ask("EHLO laptop.test")
    response = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    return await client.ask(f"AUTH PLAIN {response}")


async def submit(client: Client, content: str, sender: str = "alice@a.test") -> str:
    """The last reply of a whole message; the connection is as before."""
    for command in (f"MAIL FROM:<{sender}>", "RCPT TO:<bob@b.test>", "DATA"):
        answer = await client.ask(command)
        if answer[:1] not in "23":
            await client.ask("RSET")
            return answer
    return await client.ask(content.replace("\n", "\r\n") + "\r\n.")


async def test_another_sender_is_refused(running: Running) -> None:
    async with running(tls="implicit") as relay:
        give(relay, addresses=("alice@a.test", "*@news.test"))
        client = await relay.connect()
        assert (await sign_in(client))[:3] == "235"
        assert (await client.ask("MAIL FROM:<eve@evil.test>")).startswith("553 5.7.1 You may not send as <eve@evil")
        assert (await submit(client, "From: alice+x@a.test\n\nx"))[:3] == "250"
        assert (await submit(client, "From: any@news.test\n\nx", sender=""))[:3] == "250"
        assert (await submit(client, "From: eve@evil.test\n\nx")).startswith("553 5.7.1 You may not send with <eve@")
        assert (await submit(client, "From: alice@a.test\nFROM : eve@evil.test\n\nx"))[:9] == "554 5.6.0"
        assert (await submit(client, "Subject: x\n\nx"))[:3] == "250"
        assert b"\r\nFrom: <alice@a.test>\r\n" in relay.carrier.messages[-1].body.read()
        assert len(relay.carrier.messages) == 3
        await client.close()


async def test_or_rewritten(running: Running) -> None:
    async with running(tls="implicit", settings='sender_mismatch = "rewrite"') as relay:
        give(relay, addresses=("alice@a.test",))
        client = await relay.connect()
        await sign_in(client)
        content = "From: Scanner <scan@local.test>\nSender: root@local.test\n\nx"
        assert (await submit(client, content, sender="scan@local.test"))[:3] == "250"
        (message,) = relay.carrier.messages
        assert message.envelope.reverse_path == "alice@a.test"
        header = message.body.read()
        assert b"\r\nFrom: Scanner <alice@a.test>\r\n" in header
        assert b"local.test" not in header
        await client.close()


@pytest.mark.parametrize(
    ("check", "name", "sender", "reply"),
    [
        ("listed", "alice", "anybody@x.test", "250"),
        ("strict", "alice", "alice@x.test", "553"),
        ("listed", "alice@x.test", "alice+tag@x.test", "250"),
        ("listed", "alice@x.test", "bob@x.test", "553"),
        ("off", "alice@x.test", "bob@x.test", "250"),
    ],
)
async def test_accounts_without_a_list(running: Running, check: str, name: str, sender: str, reply: str) -> None:
    async with running(tls="implicit", settings=f'sender_check = "{check}"') as relay:
        relay.service.verifier.reload({name: Account(name, HASH)})
        client = await relay.connect()
        await sign_in(client, name=name)
        assert (await client.ask(f"MAIL FROM:<{sender}>"))[:3] == reply
        await client.close()


async def test_a_change_of_the_account_holds_at_once(running: Running) -> None:
    async with running(tls="implicit") as relay:
        client = await relay.connect()
        await sign_in(client)
        assert (await submit(client, "From: x@y.test\n\nx", sender="x@y.test"))[:3] == "250"
        give(relay, addresses=("alice@a.test",))
        assert (await client.ask("MAIL FROM:<x@y.test>"))[:3] == "553"
        give(relay, disabled=True)
        assert (await client.ask("MAIL FROM:<alice@a.test>"))[:3] == "530"
        await client.close()


async def test_limits_of_messages_recipients_and_size(running: Running) -> None:
    settings = "[policy]\nmessages_burst = 2\nrecipients_burst = 3\nrecipients_per_hour = 60"
    async with running(tls="implicit", settings=settings) as relay:
        give(relay, limits=AccountLimits(messages_per_hour=60, message_size=2000))
        client = await relay.connect()
        await sign_in(client)
        assert "250-SIZE 2000" in await ehlo(client)
        assert (await client.ask("MAIL FROM:<alice@a.test> SIZE=2001"))[:9] == "552 5.3.4"
        assert (await submit(client, "x: y\n\n" + "x" * 2500))[:9] == "552 5.3.4"
        assert (await submit(client, "x: y\n\nx"))[:3] == "250"
        await client.ask("MAIL FROM:<alice@a.test>")
        for number in range(2):
            assert (await client.ask(f"RCPT TO:<b{number}@b.test>"))[:3] == "250"
        answer = await client.ask("RCPT TO:<b3@b.test>")
        assert answer.startswith("450 4.7.1 Your account may send to 60 recipients an hour; try again in ")
        assert answer.endswith(" seconds")
        assert (await client.ask("DATA"))[:3] == "354"
        assert (await client.ask("\r\nx\r\n."))[:3] == "250"
        answer = await client.ask("MAIL FROM:<alice@a.test>")
        told = re.fullmatch(
            r"450 4\.7\.1 Your account may send 60 messages an hour; try again in (\d+) seconds", answer
        )
        assert told, answer
        assert 30 < int(told[1]) <= 60  # of the minute, less what the test has taken of it
        assert [event["limit"] for event in relay.events("limit_reached")] == [
            "recipients_per_hour",
            "messages_per_hour",
        ]
        assert relay.service.counters["limit_reached_messages_per_hour"] == 1
        await client.close()


async def ehlo(client: Client) -> list[str]:
    await client.send(b"EHLO laptop.test\r\n")
    return await client.reply()


async def test_sessions_at_once(running: Running) -> None:
    async with running(tls="implicit", settings="[policy]\nsessions = 2") as relay:
        clients = [await relay.connect() for _ in range(3)]
        assert [(await sign_in(client))[:3] for client in clients] == ["235", "235", "454"]
        await clients[0].close()
        await eventually(lambda: len(relay.service.sessions) == 2)
        assert (await sign_in(clients[2]))[:3] == "235"
        for client in clients[1:]:
            await client.close()


async def test_guessing_is_shut_out_for_this_account_only(running: Running, account: Account) -> None:
    settings = "max_auth_failures = 100\n[policy]\nguesses = 3"
    async with running(tls="implicit", settings=settings) as relay:
        relay.service.verifier.reload({"alice": account, "bob": replace(account, name="bob")})
        for name in ("alice", "nobody"):
            clients = [await relay.connect() for _ in range(3)]
            answers = await asyncio.gather(
                *(sign_in(client, f"wrong {number}", name) for number, client in enumerate(clients))
            )
            assert {answer[:3] for answer in answers} == {"535"}
            answer = await sign_in(clients[0], PASSWORD, name)
            assert answer.startswith("454 4.7.0 Too many wrong passwords for this account from your network; try again")
            assert answer.endswith("in 15 minutes")
            for client in clients:
                await client.close()
        assert [(event["account"], event["network"]) for event in relay.events("shut_out")] == [
            ("alice", "127.0.0.0/24"),
            ("nobody", "127.0.0.0/24"),
        ]
        client = await relay.connect()
        assert (await sign_in(client, name="bob"))[:3] == "235"
        await client.close()


async def test_an_old_password_again_and_again_is_no_guessing(running: Running) -> None:
    async with running(tls="implicit", settings="[policy]\nguesses = 2") as relay:
        client = await relay.connect()
        for _ in range(3):
            assert (await sign_in(client, "old"))[:3] == "535"
        assert (await sign_in(client))[:3] == "235"
        await client.close()


async def test_known_and_unknown_names_are_told_apart_by_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers, after the same work and the same delays."""
    work: list[tuple[str, float]] = []

    def hashing(hashed: str, password: bytes) -> bool:
        work.append(("hash", float(hashed.count("$"))))
        return False

    async def sleep(seconds: float, real: Any = asyncio.sleep) -> None:
        work.append(("sleep", round(seconds, 1)))
        await real(0)

    monkeypatch.setattr(verifier, "verify_password", hashing)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    async with running(tls="implicit", settings="max_auth_failures = 100\n[policy]\nguesses = 5") as relay:
        client = await relay.connect()
        seen = {}
        for name in ("alice", "nobody"):
            work.clear()
            answers = [await sign_in(client, f"wrong {number}", name) for number in range(6)]
            seen[name] = answers, [each for each in work if each[0] == "hash"], [each for each in work if each[1] >= 1]
        assert seen["alice"] == seen["nobody"]
        answers, hashes, _ = seen["alice"]
        assert [answer[:3] for answer in answers] == ["535"] * 5 + ["454"]
        assert len(hashes) == 5
        await client.close()


@pytest.mark.parametrize("trace", [False, True])
async def test_the_client_stays_private_unless_wanted(running: Running, trace: bool) -> None:
    async with running(tls="implicit", settings=f"trace_client = {str(trace).lower()}") as relay:
        client = await relay.connect()
        await sign_in(client)
        assert (await submit(client, "x: y\n\nx"))[:3] == "250"
        header = relay.carrier.messages[0].body.read()
        assert header.startswith(
            b"Received: from laptop.test ([127.0.0.1])\r\n\tby relay.test" if trace else b"Received: by "
        )
        assert (b"laptop.test" in header) == trace
        await client.close()

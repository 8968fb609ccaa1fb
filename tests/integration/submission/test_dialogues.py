# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the scripted sessions of tests/dialogues against a real listener.

A script begins with settings (`tls: implicit`, `auth: optional`, `submission: max_recipients = 100`), then has
one step a line:

    -> text            send the line
    -> "a\\r\\nb\\r\\n"    a Python string literal: send exactly this
    send 70000         send so many octets of content, in lines
    <- 250 2.1.0*      the next line the relay says must fit (shell pattern)
    <= 250             the next reply, of as many lines as it has, must have this code
    tls                turn to TLS
    sign in            AUTH PLAIN with the right password
    account {...}      alice's account with these addresses and limits (a Python dictionary)
    closed             the relay has closed the connection
    accepted 1         so many messages are in the queue
    content "a\\r\\n"     the last of them ends with exactly this
    due in 60          and is carried on so many seconds after it came
    envelope {...}     and has these MAIL parameters (a Python dictionary)
    recipient {...}    and its first recipient these RCPT parameters
"""

from __future__ import annotations

import ast
import base64
import fnmatch
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.limits import parse_limits
from relay_agent.accounts.store import parse_addresses

from .conftest import PASSWORD, Client, Relay, Running

SCRIPTS = sorted((Path(__file__).parents[2] / "dialogues").glob("*.txt"))


def read_script(path: Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    settings: dict[str, str] = {}
    steps: list[tuple[int, str]] = []
    for number, raw in enumerate(path.read_text("utf-8").splitlines(), 1):
        line = raw.rstrip("\n")
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(": ")
        if not steps and colon and name in ("tls", "auth", "submission"):
            settings[name] = f"{settings[name]}\n{value}" if name in settings else value
        else:
            steps.append((number, line))
    return settings, steps


async def play(client: Client, relay: Relay, step: str) -> None:
    if step.startswith("->"):
        text = step[3:]
        await client.send(ast.literal_eval(text).encode("latin-1") if text[:1] == '"' else text.encode() + b"\r\n")
    elif step.startswith("<- "):
        line = await client.line()
        assert fnmatch.fnmatchcase(line, step[3:]), f"the relay said {line!r}"
    elif step.startswith("<= "):
        lines = await client.reply()
        assert {line[:3] for line in lines} == {step[3:]}, f"the relay said {lines!r}"
    elif step.startswith("send "):
        size = int(step[5:])
        await client.send((b"x" * 78 + b"\r\n") * (size // 80) + b"x" * (size % 80))
    elif step == "tls":
        await client.start_tls(relay.client_context())
    elif step == "sign in":
        response = base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode()
        assert (await client.ask(f"AUTH PLAIN {response}")).startswith("235 ")
    elif step.startswith("account "):
        fields = ast.literal_eval(step[8:])
        limits = parse_limits(fields.get("limits", {}))
        addresses = parse_addresses(fields.get("addresses", []))
        alice = relay.service.verifier.account("alice")
        assert alice is not None
        relay.service.verifier.reload({"alice": replace(alice, addresses=addresses, limits=limits)})
    elif step == "closed":
        assert await client.line() == ""
    elif step.startswith("accepted "):
        assert len(relay.carrier.messages) == int(step.split()[1])
    elif step.startswith("content "):
        content = relay.carrier.messages[-1].body.read()
        assert content.endswith(ast.literal_eval(step[8:]).encode("latin-1")), repr(content)
    elif step.startswith("due in "):
        message = relay.carrier.messages[-1]
        wait = message.recipients[0].next_attempt - message.created
        assert abs(wait - int(step[7:])) < 5, wait
        assert message.expires > message.recipients[0].next_attempt
    elif step.startswith("envelope "):
        assert dict(relay.carrier.messages[-1].envelope.options) == ast.literal_eval(step[9:])
    elif step.startswith("recipient "):
        options = relay.carrier.messages[-1].recipients[0].options
        assert dict(options) == ast.literal_eval(step[10:]), repr(options)
    else:
        raise AssertionError("no such step")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
async def test_dialogue(path: Path, running: Running) -> None:
    settings, steps = read_script(path)
    options: dict[str, Any] = {"tls": settings.get("tls", "starttls"), "auth": settings.get("auth", "required")}
    async with running(**options, settings=settings.get("submission", "")) as relay:
        client = await relay.connect(tls=options["tls"] == "implicit")
        try:
            for number, step in steps:
                try:
                    await play(client, relay, step)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{path.name}:{number}: {step}: {error}") from error
        finally:
            await client.close()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10

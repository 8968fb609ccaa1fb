# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the scripted sessions of tests/dialogues against a real listener.

A script begins with settings, then has one step a line. The settings:

    tls: implicit, auth: optional, listener: proxy_from = [...], submission: max_recipients = 100
    certificate: a@b   the client has a certificate for this address, of an authority that the relay knows
    issuer: yes        the relay takes access tokens of an identity provider
    nonce: text        what the relay adds to SCRAM's nonce

The steps:

    -> text            send the line
    -> "a\\r\\nb\\r\\n"    a Python string literal: send exactly this
    send 70000         send so many octets of content, in lines
    <- 250 2.1.0*      the next line the relay says must fit (shell pattern)
    <= 250             the next reply, of as many lines as it has, must have this code
    tls                turn to TLS
    sign in            AUTH PLAIN with the right password
    account {...}      the one account, with this name (alice's without), these addresses, limits and SCRAM keys (a
                       Python dictionary)
    asks NOOP          the relay, whose side has changed (ATRN), gives this command
    closed             the relay has closed the connection
    accepted 1         so many messages are in the queue
    content "a\\r\\n"     the last of them ends with exactly this
    due in 60          and is carried on so many seconds after it came
    envelope {...}     and has these MAIL parameters (a Python dictionary)
    recipient {...}    and its first recipient these RCPT parameters
    trace "a"          and its Received line has this in it

In what is sent and expected, {b64 "text"} is the text in base64, and TOKEN in it an access token for
alice@example.org. Whatever the relay says must have the form of RFC 5321 4.2 and an enhanced status code (RFC 2034).
"""

from __future__ import annotations

import ast
import base64
import fnmatch
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import RFC822Name

from relay_agent.accounts.limits import parse_limits
from relay_agent.accounts.store import Account, parse_addresses
from relay_agent.observability import measured
from relay_agent.submission import authentication
from relay_agent.submission.scram import ScramDialogue
from tests.integration.certificates import Authority
from tests.unit.oauth.issuer import ISSUER, Issuer, key_set

from .conftest import PASSWORD, Client, Relay, Running

SETTINGS = ("tls", "auth", "listener", "submission", "certificate", "issuer", "nonce")
EXTENSIONS = {
    "PIPELINING": "2920",
    "SIZE": "1870",
    "8BITMIME": "6152",
    "BINARYMIME": "3030",
    "CHUNKING": "3030",
    "SMTPUTF8": "6531",
    "ENHANCEDSTATUSCODES": "2034",
    "DSN": "3461",
    "LIMITS": "9422",
    "REQUIRETLS": "8689",
    "STARTTLS": "3207",
    "AUTH": "4954",
    "FUTURERELEASE": "4865",
    "ETRN": "1985",
    "ATRN": "2645",
    "MT-PRIORITY": "6710",
}
#: Where each mechanism is described; two have no RFC of their own.
MECHANISMS = {
    "EXTERNAL": "RFC 4422",
    "SCRAM-SHA-256": "RFC 7677",
    "OAUTHBEARER": "RFC 7628",
    "XOAUTH2": "developers.google.com/gmail/imap/xoauth2-protocol",
    "PLAIN": "RFC 4616",
    "LOGIN": "draft-murchison-sasl-login",
}
# Without an enhanced status code: the greeting, EHLO and HELO (RFC 2034 4), and what is no answer yet.
_BARE = re.compile(rf"220 relay\.test.*|250[ -](?:relay\.test|(?:{'|'.join(EXTENSIONS)})(?: .*)?)|354 .*|334 \S*")
_CODED = re.compile(r"(?P<kind>[245])\d\d[ -](?P=kind)\.\d{1,3}\.\d{1,3} \S.*")
_BASE64 = re.compile(r'\{b64 ("(?:[^"\\]|\\.)*")\}')
SCRIPTS = sorted((Path(__file__).parents[2] / "dialogues").glob("*.txt"))


def read_script(path: Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    settings: dict[str, str] = {}
    steps: list[tuple[int, str]] = []
    for number, raw in enumerate(path.read_text("utf-8").splitlines(), 1):
        line = raw.rstrip("\n")
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(": ")
        if not steps and colon and name in SETTINGS:
            settings[name] = f"{settings[name]}\n{value}" if name in settings else value
        else:
            steps.append((number, line))
    return settings, steps


@dataclass
class Stage:
    """What the scripts of a run share."""

    account: Account
    token: str = ""

    def expand(self, step: str) -> str:
        """With what stands for something else in its place."""

        def encoded(match: re.Match[str]) -> str:
            text: str = ast.literal_eval(match[1]).replace("TOKEN", self.token)
            return base64.b64encode(text.encode()).decode()

        return _BASE64.sub(encoded, step)


def well_formed(line: str) -> None:
    assert _BARE.fullmatch(line) or _CODED.fullmatch(line), f"the relay said {line!r}, without a proper code"


async def play(client: Client, relay: Relay, stage: Stage, step: str) -> None:
    step = stage.expand(step)
    if step.startswith("->"):
        text = step[3:]
        await client.send(ast.literal_eval(text).encode("latin-1") if text[:1] == '"' else text.encode() + b"\r\n")
    elif step.startswith("<- "):
        line = await client.line()
        well_formed(line)
        assert fnmatch.fnmatchcase(line, step[3:]), f"the relay said {line!r}"
    elif step.startswith("<= "):
        lines = await client.reply()
        for line in lines:
            well_formed(line)
        assert {line[:3] for line in lines} == {step[3:]}, f"the relay said {lines!r}"
    elif step.startswith("asks "):
        line = await client.line()
        assert line == step[5:], f"the relay said {line!r}"
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
        name = fields.get("name", "alice")
        changed = replace(stage.account, name=name, addresses=addresses, limits=limits, scram=fields.get("scram", ""))
        relay.service.verifier.reload({name: changed})
    elif step == "closed":
        with suppress(ConnectionResetError):
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
    elif step.startswith("trace "):
        header = relay.carrier.messages[-1].body.read().partition(b"\r\n\r\n")[0]
        assert ast.literal_eval(step[6:]).encode() in header, repr(header)
    else:
        raise AssertionError("no such step")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
async def test_dialogue(
    path: Path, running: Running, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, steps = read_script(path)
    options: dict[str, Any] = {name: settings[name] for name in ("tls", "auth", "listener") if name in settings}
    stage, own, more = Stage(account), None, settings.get("submission", "")
    if "certificate" in settings:
        people = Authority(tmp_path / "people")
        own = people.issue("", [RFC822Name(settings["certificate"])])
        options["certificates"] = f'client_ca = "{people.certificate}"'
    if "issuer" in settings:
        issuer, keys = Issuer(), tmp_path / "keys.json"
        keys.write_text(key_set(issuer))
        more += f'\n[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_file = "{keys}"'
        stage.token = issuer.token()
    if "nonce" in settings:
        monkeypatch.setattr(authentication, "ScramDialogue", lambda: ScramDialogue(settings["nonce"]))
    async with running(**options, settings=more) as relay:
        relay.own = own
        client = await relay.connect(tls=options.get("tls") == "implicit")
        try:
            for number, step in steps:
                try:
                    await play(client, relay, stage, step)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{path.name}:{number}: {step}: {error}") from error
        finally:
            await client.close()


async def test_every_extension_and_mechanism_that_is_offered_has_a_script(
    running: Running, account: Account, tmp_path: Path
) -> None:
    """Named for it, and with the number of its RFC, or what there is in place of one."""
    people = Authority(tmp_path / "people")
    options = f'[oauth]\nissuer = "{ISSUER}"\naudience = ["postroad"]\njwks_url = "https://127.0.0.1:9/none"\n'
    options += '[[route]]\ndomains = ["site.test"]\netrn = true\nowners = ["alice"]'
    async with running(tls="starttls", certificates=f'client_ca = "{people.certificate}"', settings=options) as relay:
        relay.own = people.issue("", [RFC822Name("a@b.test")])
        relay.service.verifier.reload({"a@b.test": replace(account, name="a@b.test", scram="any")})
        offered: set[str] = set()
        client = await relay.connect()
        for _ in range(2):
            await client.send(b"EHLO laptop.test\r\n")
            offered |= {line[4:] for line in (await client.reply())[1:]}
            if "STARTTLS" in offered and relay.own is not None:
                await client.send(b"STARTTLS\r\n")
                await client.line()
                await client.start_tls(relay.client_context())
                relay.own = None
        await client.close()
    scripts = {path.stem: path.read_text() for path in SCRIPTS}
    assert {line.split()[0] for line in offered} == set(EXTENSIONS)
    for name, number in EXTENSIONS.items():
        assert name == "AUTH" or f"RFC {number}" in scripts[name.lower()], name
    (auth,) = (line for line in offered if line.startswith("AUTH "))
    assert auth.split()[1:] == list(MECHANISMS)
    for counter in (measured.SIGN_INS, measured.UPSTREAM_SIGN_INS):
        assert counter.definition.labels[0].values == tuple(MECHANISMS)  # what is not declared is counted as `other`
    for mechanism, source in MECHANISMS.items():
        assert source in scripts[f"auth-{mechanism.lower()}"], mechanism
    for version in ("1", "2"):
        assert f"HAProxy's proxy-protocol.txt 2.{version}" in scripts[f"proxy-{version}"]
    assert {"auto-tls", "auto-starttls"} <= set(scripts)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures as the next hop gets them, verified by programs of others; keys and records as an operator makes them."""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dkim
import pytest

from tests.integration.delivery.peers import NameServer, Received
from tests.integration.delivery.peers import Sink as Dumps
from tests.ports import free_port

from .conftest import PASSWORD, Agent, Sink, wait_for
from .opendkim import verify


@pytest.fixture
def arrivals(sink: Sink) -> Iterator[Dumps]:
    dumps = Dumps("127.0.0.1", sink.port, sink.directory / "mail")
    yield dumps.start()
    dumps.stop()


@pytest.fixture
def names(tmp_path: Path) -> Iterator[NameServer]:
    server = NameServer(tmp_path / "nsd", free_port())
    yield server
    server.stop()


@pytest.fixture
def keys(agent: Agent, names: NameServer) -> Callable[..., Any]:
    """`relay-agent dkim ...`: what it prints as JSON, with the exit status it shall have."""
    agent.configure(f'resolvers = ["127.0.0.1:{names.port}"]\n[dkim]\ndirectory = "{agent.directory}/dkim"\n')

    def call(*words: str, status: int = 0) -> Any:
        done = agent.command("dkim", *words, "--json", "--config", str(agent.config))
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout) if done.stdout else done.stderr

    return call


def zone(agent: Agent) -> str:
    """All records, exactly as they are printed to be pasted."""
    done = agent.command("dkim", "record", "--config", str(agent.config))
    assert done.returncode == 0, done.stderr
    return done.stdout


def submit(agent: Agent, content: bytes) -> None:
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.check_hostname = False
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as program:
        program.starttls(context=context)
        program.login("alice", PASSWORD)
        program.sendmail("alice@alpha.test", ["bob@beta.test"], content, ["BODY=8BITMIME"])


def letter(body: bytes, sender: str = "alice@alpha.test") -> bytes:
    return (
        f"From: Alice <{sender}>\r\nTo: bob@beta.test,\r\n  carol@beta.test\r\n"
        "Subject:  =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\t and  more \r\nX-Raw: \xe4\r\n\r\n"
    ).encode("latin-1") + body


def arrived(dumps: Dumps, count: int) -> Received:
    wait_for(lambda: len(dumps.received()) == count, what="arrival")
    return dumps.received()[-1]


def selectors(message: Received) -> list[str]:
    fields = [str(field) for field in message.parsed.get_all("DKIM-Signature", [])]
    return [field.partition("s=")[2].partition(";")[0] for field in fields]


def by_dkimpy(content: bytes, records: list[dict[str, Any]]) -> list[bool]:
    texts = {f"{record['name']}.".encode(): record["value"].encode() for record in records}

    def look_up(name: bytes, timeout: float = 5) -> bytes:
        return bytes(texts[name])

    count = sum(name.lower() == b"dkim-signature" for name, _ in dkim.DKIM(content).headers)
    return [dkim.DKIM(content).verify(index, dnsfunc=look_up) for index in range(count)]


def test_from_the_first_key_to_the_next(
    agent: Agent, arrivals: Dumps, names: NameServer, keys: Callable[..., Any], tmp_path: Path
) -> None:
    agent.start()
    submit(agent, letter(b"before\r\n"))
    assert selectors(arrived(arrivals, 1)) == []

    keys("new", "alpha.test", "--selector", "a")
    names.start("nothing A 127.0.0.1\n")
    assert "DNS has no TXT record at a-rsa._domainkey.alpha.test" in keys("activate", "alpha.test", status=1)
    names.stop()
    names.start(zone(agent))
    assert keys("check")["good"] is True
    assert keys("activate", "alpha.test")["agent"] == "reloaded"

    bodies = (
        b"hello \t there\r\n.dots\r\n..\r\n \r\n\r\n\r\n",
        b"",
        b"\xe4\xf6  8-bit\t\r\n",
        b"From here on it is large\r\n" * 40_000,
    )
    for number, body in enumerate(bodies):
        submit(agent, letter(body))
        message = arrived(arrivals, number + 2)
        assert selectors(message) == ["a-rsa", "a-ed25519"]
        assert by_dkimpy(message.content, keys("record")) == [True, True]
        assert verify(message.content, zone(agent), tmp_path / f"opendkim{number}") == ""

    submit(agent, letter(b"of a domain without keys\r\n", "alice@gamma.test"))
    assert selectors(arrived(arrivals, 6)) == []

    keys("new", "alpha.test", "--selector", "b", "--algorithm", "rsa")
    names.stop()
    names.start(zone(agent))
    assert keys("activate", "alpha.test")["retired"] == ["a-rsa._domainkey.alpha.test"]
    submit(agent, letter(b"after\r\n", "alice@sub.alpha.test"))
    message = arrived(arrivals, 7)
    assert selectors(message) == ["b", "a-ed25519"]
    assert by_dkimpy(message.content, keys("record")) == [True, True]
    assert verify(message.content, zone(agent), tmp_path / "after") == ""
    # Mail that the old key signed still verifies, and the key cannot be deleted yet.
    assert verify(arrivals.received()[1].content, zone(agent), tmp_path / "old") == ""
    assert "on its way for another" in keys("delete", "alpha.test", "a-rsa", status=1)

    status = agent.command("status", "--json", "--config", str(agent.config))
    assert json.loads(status.stdout)["counters"]["signed"] == 5
    assert agent.events("dkim_reloaded")
    assert not agent.events("not_signed")


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_opendkim_finds_what_was_changed(
    agent: Agent, arrivals: Dumps, keys: Callable[..., Any], tmp_path: Path, algorithm: str
) -> None:
    """The verifier of the test above does tell good from bad."""
    keys("new", "alpha.test", "--selector", "a", "--algorithm", algorithm)
    keys("activate", "alpha.test", "--force")
    agent.start()
    submit(agent, letter(b"hello\r\n"))
    content = arrived(arrivals, 1).content
    assert verify(content, zone(agent), tmp_path / "good") == ""
    assert "Bad signature" in verify(content.replace(b"carol", b"chuck"), zone(agent), tmp_path / "bad")
    assert verify(content, "", tmp_path / "none") != ""


def test_a_key_that_cannot_be_used_keeps_the_old_ones_signing(
    agent: Agent, arrivals: Dumps, keys: Callable[..., Any]
) -> None:
    keys("new", "alpha.test", "--selector", "a", "--algorithm", "ed25519")
    keys("activate", "alpha.test", "--force")
    agent.start()
    bad = agent.directory / "dkim/alpha.test/bad.pem"
    bad.write_text("nothing")
    assert f"{bad}: holds no key" in keys("keys", status=1)
    checked = agent.command("check-config", str(agent.config))
    assert checked.returncode == 2
    assert f"{bad}: holds no key" in checked.stderr
    submit(agent, letter(b"hello\r\n"))
    assert selectors(arrived(arrivals, 1)) == ["a"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites call in for their mail: two workers with mail for them, Postfix as the site."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_agent.accounts.hashing import hash_password
from tests.integration.certificates import make_certificate
from tests.integration.delivery.peers import Smarthost
from tests.ports import free_port

from .conftest import PASSWORD, Agent, Sink, wait_for
from .odmr import Site
from .test_resumption import alone, workers

ACCOUNTS = ("alice", "site", "other")


@pytest.fixture
def postfix(sink: Sink) -> Iterator[Smarthost]:
    """The site's mail server; what it takes goes on to the sink."""
    with tempfile.TemporaryDirectory(prefix="postroad-site-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        site = Smarthost(
            directory,
            "127.0.0.1",
            free_port(),
            free_port(),
            make_certificate(directory, "site.test"),
            f"[127.0.0.1]:{sink.port}",
            extra="smtpd_tls_security_level = may\nmyhostname = site.test\nmynetworks = 127.0.0.0/8\n"
            "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = permit_mynetworks, reject",
        )
        try:
            yield site.start()
        finally:
            site.stop()


def start(agent: Agent, host: int, extra: str = "") -> None:
    agent.configure(extra or "[process]\nworkers = 2\n")
    hashed = hash_password(PASSWORD)
    (agent.directory / "accounts.toml").write_text(
        "".join(f'[[account]]\nname = "{name}"\nhash = "{hashed}"\n' for name in ACCOUNTS)
    )
    routes = f"""[[route]]
domains = ["site.test", "*.site.test"]
etrn = true
owners = ["site"]
via = [{{ host = "127.0.0.1", port = {host}, tls = "none" }}]
[[route]]
domains = ["nowhere.test"]
etrn = true
owners = ["site"]
[[route]]
domains = ["other.test"]
etrn = true
owners = ["other"]
"""
    agent.config.write_text(agent.config.read_text().replace("[[route]]\n", f"{routes}[[route]]\n", 1))
    agent.start()


def context(agent: Agent) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    made.check_hostname = False
    return made


def submit(agent: Agent, worker: int, *bodies: str, to: tuple[str, ...] = ("bob@site.test",)) -> None:
    with alone(agent, worker):
        for body in bodies:
            agent.submit(body, implicit=True, recipients=to)


def call(agent: Agent, account: str = "site") -> Site:
    return Site(agent.implicit, account, PASSWORD, context(agent))


def queue(agent: Agent) -> list[dict[str, Any]]:
    listed = agent.command("queue", "list", "--json", "--config", str(agent.config))
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    messages: list[dict[str, Any]] = found["messages"] if isinstance(found, dict) else found
    return messages


def bodies(sink: Sink) -> Counter[str]:
    return Counter(
        content.decode().splitlines()[-2 if content.endswith(b"\n\n") else -1] for content in sink.messages()
    )


def test_etrn_sends_what_every_worker_has_to_the_known_host(agent: Agent, sink: Sink, postfix: Smarthost) -> None:
    sink.start()
    start(agent, postfix.starttls_port)
    first, second = workers(agent)
    submit(agent, first, "one")
    submit(agent, second, "two", to=("bob@site.test", "carol@other.test"))
    submit(agent, second, "three", to=("dave@deep.site.test",))
    wait_for(lambda: len(agent.events("waits_for_call")) == 4, what="the waiting")
    assert not agent.events("delivered")
    with call(agent) as site:
        assert {"ETRN", "ATRN"} <= site.extensions
        (refused,) = site.ask("ETRN other.test")
        assert refused.startswith("459 ")
        assert site.ask("ETRN none.test") == [refused.replace("other.test", "none.test")]
        assert site.ask("ETRN site.test")[0].startswith("253 2.0.0 OK, 2 pending messages for node site.test")
        wait_for(lambda: len(agent.events("delivered")) == 2, what="the delivery")
        assert site.ask("ETRN @site.test")[0].startswith("253 2.0.0 OK, 1 ")
        wait_for(lambda: len(agent.events("delivered")) == 3, what="the delivery")
        assert site.ask("ETRN @site.test")[0].startswith("251 ")
        submit(agent, first, "late")  # the site is there: it goes on at once
        wait_for(lambda: len(agent.events("delivered")) == 4, what="the delivery")
    wait_for(lambda: len(sink.messages()) == 4, what="the mail at the site")
    (left,) = queue(agent)
    assert [each["address"] for each in left["recipients"]] == ["carol@other.test"]
    story = agent.command("queue", "show", left["id"], "--config", str(agent.config)).stdout
    assert "waits until the site of other.test calls in" in story
    assert "It goes on when the site of other.test calls in for its mail." in story
    status = agent.command("status", "--config", str(agent.config)).stdout
    assert "1 message waits until the site of other.test calls in" in status


def test_fetchmail_calls_by_etrn(agent: Agent, sink: Sink, postfix: Smarthost) -> None:
    sink.start()
    start(agent, postfix.starttls_port)
    for worker in workers(agent):
        submit(agent, worker, f"by {worker}")
    wait_for(lambda: len(agent.events("waits_for_call")) == 2, what="the waiting")
    settings = agent.directory / "fetchmailrc"
    settings.write_text(
        f"poll 127.0.0.1 service {agent.implicit} protocol ETRN esmtpname site esmtppassword {PASSWORD} "
        "fetchdomains site.test\n  ssl sslcertck sslcommonname relay.test "
        f"sslcertfile {agent.certificate.certificate}\n"
    )
    settings.chmod(0o600)
    command = [
        "fetchmail",
        "-f",
        str(settings),
        "--nosyslog",
        "--pidfile",
        str(agent.directory / "fetchmail.pid"),
        "-v",
    ]
    home = {**os.environ, "FETCHMAILHOME": str(agent.directory)}
    called = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=home)
    assert "Pending messages for site.test started" in called.stdout, called.stdout + called.stderr
    wait_for(lambda: len(sink.messages()) == 2, what="the mail at the site")


@pytest.mark.parametrize("to", ["site.test", "nowhere.test"])
def test_atrn_brings_the_mail_of_every_worker_over_one_connection(
    agent: Agent, sink: Sink, postfix: Smarthost, to: str
) -> None:
    sink.start()
    start(agent, free_port())
    large = "x" * 900 + "\n"
    for worker, name in zip(workers(agent), ("first", "second"), strict=True):
        submit(
            agent, worker, f"{large * 3000}{name} large", *(f"{name} {number}" for number in range(5)), to=(f"b@{to}",)
        )
    wait_for(lambda: len(agent.events("waits_for_call")) == 12, what="the waiting")
    with call(agent) as site:
        assert site.ask("ATRN") == ["250 2.0.0 OK now reversing the connection"]
        site.join(("127.0.0.1", postfix.starttls_port))
    wait_for(lambda: len(agent.events("site_collected")) == 1, what="the end of it")
    (collected,) = agent.events("site_collected")
    assert (collected["messages"], collected.get("problem")) == (12, None)
    wait_for(lambda: len(sink.messages()) == 12, what="the mail at the site")
    wait_for(lambda: not queue(agent), what="the empty queue")
    assert set(bodies(sink).values()) == {1}
    with call(agent) as site:
        assert site.ask("ATRN") == ["453 4.0.0 You have no mail"]
        assert site.ask("ATRN other.test")[0].startswith("450 ")
        assert site.ask("ETRN nowhere.test")[0].startswith("458 ")


def test_a_site_that_hangs_up_gets_the_rest_the_next_time(agent: Agent, sink: Sink) -> None:
    start(agent, free_port())
    first, second = workers(agent)
    wanted = {f"{name} {number}" for name in ("first", "second") for number in range(3)}
    for worker, name in ((first, "first"), (second, "second")):
        submit(agent, worker, *(f"{name} {number}" for number in range(3)))
    wait_for(lambda: len(agent.events("waits_for_call")) == 6, what="the waiting")
    got: list[str] = []

    def booked() -> bool:
        return len(agent.events("delivered")) == len(got) and len(queue(agent)) == 6 - len(got)

    for taken in (1, 3, 2):
        with call(agent) as site:
            assert site.ask("ATRN site.test")[0].startswith("250 ")
            got += site.take(taken)
        wait_for(booked, what="the books")
    assert sorted(got) == sorted(wanted)
    assert all(event["host"] == "site.test" for event in agent.events("delivered"))


def test_a_worker_that_dies_in_the_middle_ends_the_connection(agent: Agent) -> None:
    start(agent, free_port())
    wait_for(lambda: len(agent.events("started")) == 1, what="both workers")
    status = json.loads(agent.command("status", "--json", "--config", str(agent.config)).stdout)
    first, second = (each["pid"] for each in sorted(status["workers"], key=lambda each: each["stores"]))
    submit(agent, first, "one", "large " * 300_000)
    submit(agent, second, "two")
    wait_for(lambda: len(agent.events("waits_for_call")) == 3, what="the waiting")
    with alone(agent, second):
        site = call(agent)
    with site:
        assert site.ask("ATRN")[0].startswith("250 ")
        site.say("220 site.test at your service")
        bodies = 0
        while line := site.line():
            verb = line.partition(" ")[0]
            if verb != "DATA":
                site.say("250 2.0.0 yes")
                continue
            bodies += 1
            site.say("354 go on")
            if bodies == 2:
                os.kill(first, signal.SIGKILL)
                while site.line():  # what was on its way; no end, and nobody goes on behind it
                    pass
                break
            while site.line() != ".":
                pass
            site.say("250 2.0.0 yes")
    wait_for(lambda: len(agent.events("site_collected")) == 1, what="the end of the call in the log")
    (collected,) = agent.events("site_collected")
    assert collected["problem"]
    wait_for(lambda: len(set(workers(agent)) - {first, second}) == 1, 60, "another worker")
    got: list[str] = []
    while queue(agent):
        with call(agent) as again:
            if again.ask("ATRN")[0].startswith("250 "):
                got += again.take(9)
    assert sorted(each[:5] for each in got if each != "one") == ["large", "two"]


def test_nothing_is_lost_or_doubled_over_a_reload(agent: Agent) -> None:
    start(agent, free_port())
    wanted = [f"{worker} {number}" for worker in workers(agent) for number in range(3)]
    for worker in workers(agent):
        submit(agent, worker, *(f"{worker} {number}" for number in range(3)))
    wait_for(lambda: len(agent.events("waits_for_call")) == 6, what="the waiting")

    def reload(taken: int) -> None:
        if taken == 2:
            agent.signal(signal.SIGHUP)
            wait_for(lambda: bool(agent.events("reloaded")), 60, "the reload")

    with call(agent) as site:
        assert site.ask("ATRN")[0].startswith("250 ")
        got = site.take(9, reload)
    assert len(got) >= 2
    deadline = time.monotonic() + 60
    while queue(agent):
        assert time.monotonic() < deadline, "the rest did not come"
        time.sleep(1)
        with call(agent) as again:
            if again.ask("ATRN")[0].startswith("250 "):
                got += again.take(9)
    assert sorted(got) == sorted(wanted)


def test_mail_for_the_site_is_the_next_hops_when_its_route_is(agent: Agent, sink: Sink) -> None:
    sink.start()
    start(agent, free_port())
    submit(agent, workers(agent)[0], "one")
    wait_for(lambda: len(agent.events("waits_for_call")) == 1, what="the waiting")
    text = agent.config.read_text().replace('domains = ["site.test", "*.site.test"]', 'domains = ["moved.test"]')
    agent.config.write_text(text)
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("delivered")) == 1, 60, "the delivery")
    wait_for(lambda: len(sink.messages()) == 1, what="the mail at the next hop")


def test_only_who_has_signed_in_may_call(agent: Agent) -> None:
    start(agent, free_port())
    with smtplib.SMTP_SSL("127.0.0.1", agent.implicit, timeout=20, context=context(agent)) as program:
        program.ehlo()
        assert program.has_extn("atrn")
        for command in ("ETRN site.test", "ATRN"):
            assert program.docmd(command)[0] == 530

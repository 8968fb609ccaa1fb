# SPDX-License-Identifier: GPL-3.0-or-later
"""The suppression list and the watch on block lists: the whole agent, Postfix as the MX, nsd as the DNS."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.feedback import feedback_report
from tests.integration.certificates import make_certificate
from tests.integration.delivery.peers import NameServer, Smarthost
from tests.ports import free_port

from .conftest import PASSWORD, Agent, wait_for
from .test_resumption import alone, workers

MX = "127.0.2.1"
LISTENERS = """
[[listener]]
address = "127.0.0.1"
port = {implicit}
tls = "implicit"
[[listener]]
address = "127.0.0.1"
port = {starttls}
tls = "none"
auth = "none"
[submission]
trusted_networks = ["127.0.0.0/8"]
"""
LISTED = """
1.2.0.192.bl    A 127.0.0.2
1.2.0.192.bl    TXT "listed, see https://bl.test/192.0.2.1"
*.everybody     A 127.0.0.2
*.refusing      A 127.255.255.254
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl A 127.0.0.4
"""


@dataclass
class World:
    """An agent that sends to the MX of alpha.test, where bob has a mailbox and nobody else."""

    agent: Agent
    names: NameServer
    mail_port: int
    mx: Smarthost
    sessions: list[smtplib.SMTP] = field(default_factory=list)

    def configure(self, sections: str) -> None:
        self.agent.configure(
            f'resolvers = ["127.0.0.1:{self.names.port}"]\nsmtp_port = {self.mail_port}\n{sections}',
            listeners=LISTENERS,
        )
        text = self.agent.config.read_text()
        route = text[text.index("[[route]]") : text.index("[delivery]")]
        self.agent.config.write_text(text.replace(route, ""))

    def command(self, *words: str) -> Any:
        """What a command says in JSON."""
        done = self.agent.command(*words, "--config", str(self.agent.config), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def session(self, worker: int) -> smtplib.SMTP:
        """Signed in with this worker."""
        context = ssl.create_default_context(cafile=str(self.agent.certificate.certificate))
        context.check_hostname = False
        with alone(self.agent, worker):
            program = smtplib.SMTP_SSL("127.0.0.1", self.agent.implicit, timeout=20, context=context)
        self.sessions.append(program)
        program.login("alice", PASSWORD)
        return program

    def close(self) -> None:
        for each in self.sessions:
            each.close()
        self.names.stop()
        self.mx.stop()


@pytest.fixture
def world(agent: Agent) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="postroad-standing-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        names = NameServer(directory / "nsd", free_port())
        port = free_port()
        certificate = make_certificate(directory, "mx.alpha.test")
        extra = (
            "smtpd_tls_security_level = may\nmydestination = alpha.test\n"
            "local_recipient_maps = inline:{bob@alpha.test=x, alice@alpha.test=x}\n"
            "local_transport = smtp:[127.0.0.1]:9\n"
            "smtpd_relay_restrictions = reject_unauth_destination\nsmtpd_recipient_restrictions =\n"
        )
        (directory / "mx").mkdir(mode=0o755)
        mx = Smarthost(directory / "mx", MX, port, free_port(), certificate, "", extra=extra)
        new = World(agent, names, port, mx)
        try:
            names.start(f"alpha MX 10 mx.alpha\nmx.alpha A {MX}\n{LISTED}")
            mx.start()
            yield new
        finally:
            new.close()


def rcpt(program: smtplib.SMTP, address: str) -> tuple[int, str]:
    """The answer to RCPT in a message that is dropped then."""
    program.mail("alice@alpha.test")
    code, text = program.rcpt(address)
    program.rset()
    return code, text.decode()


def becomes(program: smtplib.SMTP, address: str, code: int) -> None:
    """The answer to RCPT is this before long."""
    wait_for(lambda: rcpt(program, address)[0] == code, what=f"{code} for {address}")


def send(program: smtplib.SMTP, *recipients: str) -> None:
    program.sendmail("alice@alpha.test", recipients, "Subject: test\n\nx\n")


def test_a_mailbox_that_is_not_there_is_known_to_all_workers_and_after_a_kill(world: World) -> None:
    agent = world.agent
    world.configure('[suppression]\nmode = "refuse"\n[process]\nworkers = 2\n')
    agent.start()
    sessions = [world.session(worker) for worker in workers(agent)]
    send(sessions[0], "nobody@alpha.test", "bob@alpha.test")
    wait_for(lambda: bool(agent.events("suppressed")), what="the suppression")
    for program in sessions:
        becomes(program, "Nobody@Alpha.test", 550)
        text = rcpt(program, "nobody@alpha.test")[1]
        assert text.startswith("5.1.1 <nobody@alpha.test> has bounced on ")
        assert "User unknown in local recipient table" in text
        assert "relay-agent suppression remove" in text
        assert rcpt(program, "bob@alpha.test")[0] == 250
    (bounce,) = agent.events("failed")
    assert bounce["status"] == "5.1.1"

    agent.signal(signal.SIGKILL)
    agent.start()
    sessions = [world.session(worker) for worker in workers(agent)]
    assert [rcpt(program, "nobody@alpha.test")[0] for program in sessions] == [550, 550]
    (entry,) = world.command("suppression", "list")
    assert (entry["address"], entry["owner"], entry["cause"]) == ("nobody@alpha.test", "alice", "bounce")
    assert world.command("status")["suppressed"] == 1

    assert world.command("suppression", "remove", "nobody@alpha.test")["removed"] == 1
    for program in sessions:
        becomes(program, "nobody@alpha.test", 250)
    world.command("suppression", "add", "nobody@alpha.test", "--reason", "by phone")
    for program in sessions:
        becomes(program, "nobody@alpha.test", 550)
        assert "by phone" in rcpt(program, "nobody@alpha.test")[1]


def test_a_reload_keeps_the_list(world: World) -> None:
    agent = world.agent
    world.configure('[suppression]\nmode = "warn"\n')
    agent.start()
    before = workers(agent)
    world.command("suppression", "add", "nobody@alpha.test")
    program = world.session(before[0])
    assert rcpt(program, "nobody@alpha.test")[0] == 250
    assert agent.events("recipient_suppressed")[0]["refused"] is False
    program.close()  # the old worker would wait for it
    world.configure('[suppression]\nmode = "refuse"\nscope = "host"\n')
    agent.signal(signal.SIGHUP)
    wait_for(lambda: bool(agent.events("reloaded")) and not set(before) & set(workers(agent)), 90, "the reload")
    for worker in workers(agent):
        assert rcpt(world.session(worker), "nobody@alpha.test")[0] == 550


def test_a_complaint_by_the_report_address_and_by_the_command(world: World, tmp_path: Path) -> None:
    agent = world.agent
    world.configure('[suppression]\nmode = "refuse"\nreport_address = "fbl@relay.test"\n')
    agent.start()
    program = world.session(workers(agent)[0])
    code, text = rcpt(program, "fbl@relay.test")
    assert (code, text[:5]) == (550, "5.7.1"), "an account spoke for others"
    report = feedback_report(recipient="Original-Rcpt-To: <bob@alpha.test>\n")
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as exchanger:  # the MX of relay.test
        exchanger.sendmail("", ["fbl@relay.test"], report)
        wait_for(lambda: bool(agent.events("complaint_report")), 20, "the report")
        exchanger.sendmail("", ["fbl@relay.test"], "Subject: buy now\n\nbuy\n")
    wait_for(lambda: rcpt(program, "bob@alpha.test")[0] == 550, what="the refusal")
    assert rcpt(program, "bob@alpha.test")[1].startswith("5.7.1 <bob@alpha.test> has complained of your mail on ")

    wait_for(lambda: len(agent.events("complaint_report")) == 2, 20, "the other one")
    (taken, held) = agent.events("complaint_report")
    assert (taken["result"], taken["about"]) == ("taken", "01KAQ8Z0J7M5T2X")
    assert held["result"] == "held"
    (kept,) = world.command("queue", "list")
    assert kept["id"] == held["queue_id"]
    assert kept["recipients"][0]["state"] == "held"
    assert "not a report" in kept["recipients"][0]["last_reply"]
    assert not agent.events("bounced")

    (tmp_path / "report.eml").write_bytes(feedback_report(recipient="Original-Rcpt-To: <eve@alpha.test>\n"))
    world.command("suppression", "import-report", str(tmp_path / "report.eml"))
    wait_for(lambda: rcpt(program, "eve@alpha.test")[0] == 550, what="the refusal")
    metrics = agent.command("metrics", "--config", str(agent.config)).stdout
    assert 'postroad_suppression_entries{cause="complaint"} 2' in metrics
    assert 'postroad_complaint_reports_total{result="held"} 1' in metrics


def test_a_worker_that_is_killed_loses_no_report(world: World) -> None:
    agent = world.agent
    world.configure('[suppression]\nmode = "refuse"\nreport_address = "fbl@relay.test"\n[process]\nworkers = 1\n')
    agent.start()
    (worker,) = workers(agent)
    assert agent.process is not None
    supervisor = agent.process.pid
    with smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20) as exchanger:
        os.kill(supervisor, signal.SIGSTOP)  # the complaint cannot be recorded
        exchanger.sendmail("", ["fbl@relay.test"], feedback_report())
    os.kill(worker, signal.SIGKILL)
    os.kill(supervisor, signal.SIGCONT)
    wait_for(lambda: any(each["result"] == "taken" for each in agent.events("complaint_report")), 60, "the report")
    assert [each["address"] for each in world.command("suppression", "list")] == ["bob@beta.test"]


def test_block_lists_are_asked_and_their_refusals_told_apart(world: World) -> None:
    agent = world.agent
    world.configure(
        '[reputation]\nlists = ["bl.test", "everybody.test", "refusing.test", "broken"]\n'
        'addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]\n'
    )
    agent.start()
    wait_for(lambda: len(world.command("status")["reputation"]["listings"]) == 12, 40, "the first round")
    found = {(each["list"], each["address"]): each for each in world.command("status")["reputation"]["listings"]}
    assert found["bl.test", "192.0.2.1"]["listed"] is True
    assert found["bl.test", "192.0.2.1"]["reason"] == "listed, see https://bl.test/192.0.2.1"
    assert found["bl.test", "192.0.2.2"]["listed"] is False
    assert found["bl.test", "2001:db8::1"]["listed"] is True
    for name, words in {"everybody.test": "it is gone", "refusing.test": "public resolver", "broken": "DNS"}.items():
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            assert found[name, address]["listed"] is None
            assert words in found[name, address]["problem"]
    text = agent.command("status", "--config", str(agent.config)).stdout
    assert "192.0.2.1 on bl.test: listed since " in text
    metrics = agent.command("metrics", "--config", str(agent.config)).stdout
    assert 'postroad_blocklist_listed{list="bl.test",address="192.0.2.1"} 1' in metrics
    assert 'postroad_blocklist_listed{list="bl.test",address="192.0.2.2"} 0' in metrics
    assert "everybody.test" not in metrics
    assert len(agent.events("blocklist_listed")) == 2

    world.names.stop()
    world.names.start("ns2 A 127.0.0.1\n")
    time.sleep(0.2)
    agent.signal(signal.SIGHUP)
    wait_for(lambda: len(agent.events("blocklist_cleared")) == 2, 90, "the end of the listings")
    assert len(agent.events("blocklist_listed")) == 2

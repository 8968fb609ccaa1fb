# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of a real agent with two workers: they add up, never go back, and Prometheus takes them."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import smtplib
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relay_agent.observability.measured import BLOCKLIST_LISTED, CERTIFICATE_RENEWAL_FAILS, REGISTRY
from tests.ports import free_port

from .conftest import PASSWORD, Agent, Sink, wait_for

RULES = Path(__file__).parents[3] / "roles/relay_monitoring/files/postroad.rules.yml"
# No block list is asked here, and no certificate renewed.
ABSENT = (BLOCKLIST_LISTED, CERTIFICATE_RENEWAL_FAILS)
SAMPLE = re.compile(r"^(postroad_\w+)(\{.*\})? (\S+)$")


@dataclass
class Reader:
    """Reads an agent's port as Prometheus does."""

    agent: Agent
    port: int

    def page(self, path: str = "/metrics", accept: str = "*/*") -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    def samples(self) -> dict[str, float]:
        """The values of now, by name and labels as they are written."""
        time.sleep(0.6)  # what is younger is the answer of before
        found = (SAMPLE.fullmatch(line) for line in self.page().splitlines())
        return {f"{match[1]}{match[2] or ''}".removeprefix("postroad_"): float(match[3]) for match in found if match}

    def value(self, name: str) -> float:
        return self.samples()[name]

    def workers(self) -> list[int]:
        status = self.agent.command("status", "--config", str(self.agent.config), "--json")
        return [each["pid"] for each in json.loads(status.stdout)["workers"] if each["state"] == "running"]


@pytest.fixture
def reader(agent: Agent, sink: Sink) -> Reader:
    port = free_port()
    agent.configure(f"[process]\nworkers = 2\n[metrics]\nport = {port}\n[policy]\nmessages_per_hour = 1000\n")
    sink.start()
    return Reader(agent, port)


def counters(samples: dict[str, float]) -> dict[str, float]:
    """Those that may never go back."""
    growing = {each.name.removeprefix("postroad_") for each in REGISTRY if each.kind != "gauge"}
    return {
        name: value
        for name, value in samples.items()
        if re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) in growing or name.partition("{")[0] in growing
    }


def never_back(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    lost = {name: (value, after.get(name)) for name, value in counters(before).items() if after.get(name, -1) < value}
    assert lost == {}
    return after


def reloaded(agent: Agent, count: int) -> None:
    wait_for(lambda: len(agent.events("reloaded")) == count, 30, f"reload {count}")


def test_what_happened_is_in_the_numbers(agent: Agent, sink: Sink, reader: Reader) -> None:
    agent.start()
    for number in range(10):
        agent.submit("x" * 2000, implicit=number % 2 == 1, recipients=("bob@beta.test", "carol@gamma.test"))
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.1", agent.implicit, timeout=20, context=context) as program:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            program.login("alice", "wrong")
        program.login("alice", PASSWORD)
        assert program.docmd("MAIL FROM:<a@b.test> SIZE=999999999")[0] == 552
        assert program.docmd("MAIL FROM:<alice@alpha.test>")[0] == 250
        assert program.docmd("RCPT TO:<bob@@beta.test>")[0] >= 500
        wait_for(lambda: len(sink.messages()) == 10, what="arrival")
        # The sessions that have ended, and the replies of the next hop, are noticed a moment later.
        wait_for(
            lambda: (now := reader.samples())["sessions"] == 1 and now["delivery_seconds_count"] == 20, what="the end"
        )
        found = reader.samples()
    assert found[f'connections_total{{port="{agent.implicit}",tls="implicit"}}'] == 6
    assert found[f'connections_total{{port="{agent.starttls}",tls="starttls"}}'] >= 5
    assert found['incoming_tls_total{version="TLSv1.3"}'] == 11
    signed_in = {name: value for name, value in found.items() if name.startswith("sign_ins_total") and value}
    assert sum(value for name, value in signed_in.items() if 'result="succeeded"' in name) == 11
    # smtplib tries one mechanism after the other with the wrong password.
    assert sum(value for name, value in signed_in.items() if 'result="failed"' in name) >= 1
    assert (found["messages_accepted_total"], found["recipients_accepted_total"]) == (10, 20)
    assert found["message_bytes_count"] == found["commit_seconds_count"] == 10
    assert 20_000 < found["message_bytes_sum"] < 30_000
    assert 0 < found["commit_seconds_sum"] < 10
    assert found['messages_refused_total{reason="size"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("recipients_refused_total")) == 1
    assert found['delivery_outcomes_total{outcome="delivered"}'] == found["delivery_seconds_count"] == 20
    assert found["attempt_seconds_count"] == 10
    assert found['outgoing_connections_total{result="opened"}'] >= 1
    assert found['outgoing_tls_total{version="none"}'] == found['outgoing_connections_total{result="opened"}']
    assert found['queue_messages{state="waiting"}'] == found["queue_oldest_age_seconds"] == 0
    assert found['workers{state="running"}'] == 2
    assert len([name for name in found if name.startswith("worker_resident_bytes")]) == 2
    assert found["certificate_expiry_timestamp_seconds"] > time.time()
    assert found['log_events_total{event="accepted"}'] == 10
    assert found["accounts"] == 1
    assert reader.page("/healthz") == "taking mail\n"
    # After the end of a session there is one less, and its length is known.
    wait_for(lambda: reader.value("sessions") == 0, what="the end of the session")
    after = never_back(found, reader.samples())
    assert after["session_seconds_count"] == sum(
        value for name, value in after.items() if name.startswith("connections_total")
    )


def test_limits_guesses_and_who_was_turned_away(agent: Agent, reader: Reader) -> None:
    agent.configure(
        f"[process]\nworkers = 1\n[metrics]\nport = {reader.port}\n"
        "[policy]\nmessages_per_hour = 1\nmessages_burst = 1\nguesses = 2\n"
        "[submission]\nmax_connections_per_source = 2\n"
    )
    agent.start()
    time.sleep(0.5)  # the look whether it has started was a session, too
    agent.submit("the one of this hour")
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.check_hostname = False

    def program() -> smtplib.SMTP_SSL:
        return smtplib.SMTP_SSL("127.0.0.1", agent.implicit, timeout=20, context=context)

    wait_for(lambda: reader.samples()["sessions"] == 0, what="the end of that session")
    first = program()
    turned_away = 0
    second: smtplib.SMTP_SSL | None = None
    while second is None:
        try:
            second = program()
        except smtplib.SMTPConnectError:  # the worker's lease for one more is on its way
            turned_away += 1
            assert turned_away < 50
            time.sleep(0.3)
    with first, second:
        first.login("alice", PASSWORD)
        assert first.docmd("MAIL FROM:<alice@alpha.test>")[0] == 450
        second.ehlo()
        for wrong, code in (("one", 535), ("two", 535), ("three", 454)):
            token = base64.b64encode(f"\0bob\0{wrong}".encode()).decode()
            assert second.docmd(f"AUTH PLAIN {token}")[0] == code
        assert second.docmd("AUTH PLAIN !")[0] == 501
        with pytest.raises(smtplib.SMTPConnectError):
            smtplib.SMTP("127.0.0.1", agent.starttls, timeout=20)
        found = reader.samples()
    assert (
        found['limit_reached_total{limit="messages_per_hour"}'] == found['messages_refused_total{reason="limit"}'] == 1
    )
    assert found['sign_ins_total{mechanism="PLAIN",result="failed"}'] == 2
    assert found['sign_ins_total{mechanism="PLAIN",result="shut_out"}'] == 1
    assert found['sign_ins_total{mechanism="PLAIN",result="malformed"}'] == 1
    assert found["shut_outs_total"] == 1
    assert found['turned_away_total{reason="source_full"}'] == turned_away + 1
    assert not [name for name in found if "alice" in name or "bob" in name or "127.0.0.1" in name]


def test_the_command_prints_what_the_port_has(agent: Agent, reader: Reader) -> None:
    agent.start()
    agent.submit("one")
    wait_for(lambda: reader.value('delivery_outcomes_total{outcome="delivered"}') == 1, what="delivery")
    printed = agent.command("metrics", "--config", str(agent.config))
    assert printed.returncode == 0, printed.stderr
    assert "\npostroad_messages_accepted_total 1\n" in printed.stdout
    checked = subprocess.run(["promtool", "check", "metrics"], input=printed.stdout, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    asked = agent.command("metrics", "--json", "--config", str(agent.config))
    families = {each["name"]: each for each in json.loads(asked.stdout)["metrics"]}
    assert families["postroad_messages_accepted_total"]["samples"] == [{"labels": {}, "value": 1}]
    assert set(families) == {each.name for each in REGISTRY if each not in ABSENT}


def test_deferred_mail_is_seen_waiting(agent: Agent, sink: Sink, reader: Reader) -> None:
    sink.stop()
    agent.start()
    agent.submit("x" * 1000)
    wait_for(lambda: reader.value('queue_messages{state="waiting"}') == 1, what="the deferral")
    found = reader.samples()
    assert found['delivery_outcomes_total{outcome="deferred"}'] >= 1
    assert found['outgoing_connections_total{result="failed"}'] >= 1
    assert found["queue_bytes"] > 1000
    assert 0 < found["queue_oldest_age_seconds"] < 60


def test_nothing_goes_back_by_a_killed_worker_and_by_reloads(agent: Agent, reader: Reader) -> None:
    agent.start()
    for _ in range(8):
        agent.submit("before")
    # What is counted by then outlives its worker.
    wait_for(lambda: reader.value('delivery_outcomes_total{outcome="delivered"}') == 8, what="delivery")
    seen = reader.samples()
    assert seen["messages_accepted_total"] == 8
    workers = reader.workers()
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(agent.events("worker_ended")) == 2, what="the end of both")
    wait_for(lambda: len(set(reader.workers()) - set(workers)) == 2, what="two other workers")
    seen = never_back(seen, reader.samples())
    assert seen["messages_accepted_total"] == 8
    assert seen['worker_restarts_total{cause="signal"}'] == 2
    agent.submit("between")
    for count in (1, 2):
        agent.signal(signal.SIGHUP)
        agent.submit("while it reloads")
        reloaded(agent, count)
        seen = never_back(seen, reader.samples())
    wait_for(lambda: reader.value('workers{state="leaving"}') == 0, 30, "the end of the earlier workers")
    wait_for(lambda: reader.value('delivery_outcomes_total{outcome="delivered"}') == 11, what="delivery")
    seen = never_back(seen, reader.samples())
    assert (seen["messages_accepted_total"], seen['reloads_total{result="done"}']) == (11, 2)
    assert seen["commit_seconds_count"] == 11
    # A refused one counts, too, and the port goes when the section does.
    good = agent.config.read_text()
    agent.config.write_text(good + "\nnonsense = 1\n")
    agent.signal(signal.SIGHUP)
    wait_for(lambda: reader.value('reloads_total{result="refused"}') == 1, 30, "the refusal")
    agent.config.write_text(re.sub(r"\[metrics\]\nport = \d+\n", "", good))
    agent.signal(signal.SIGHUP)
    reloaded(agent, 3)

    def closed() -> bool:
        try:
            reader.page()
        except urllib.error.URLError:
            return True
        return False

    wait_for(closed, what="the end of the port")


@pytest.fixture
def prometheus(tmp_path: Path, reader: Reader) -> Iterator[int]:
    """A Prometheus of Debian's that reads the agent each second and has the alerts; its port."""
    directory = tmp_path / "prometheus"
    directory.mkdir()
    port = free_port()
    shutil.copy(RULES, directory / "postroad.rules.yml")
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [postroad.rules.yml]\n"
        f"scrape_configs: [{{job_name: postroad, static_configs: [{{targets: ['127.0.0.1:{reader.port}']}}]}}]\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    yield port
    process.terminate()
    process.wait(20)


def test_prometheus_reads_the_agent_and_knows_its_alerts(agent: Agent, reader: Reader, prometheus: int) -> None:
    agent.start()
    agent.submit("one")

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{prometheus}/api/v1/{path}", timeout=20) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {"activeTargets": [], "result": []}

    def accepted() -> list[str]:
        query = urllib.parse.quote("postroad_messages_accepted_total")
        return [each["value"][1] for each in ask(f"query?query={query}")["result"]]

    wait_for(lambda: accepted() == ["1"], 30, "Prometheus' first sight of the message")
    (target,) = ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    # It asks for OpenMetrics first, so both formats have now met their reader.
    assert reader.page(accept="application/openmetrics-text; version=1.0.0").endswith("\n# EOF\n")
    kinds = {name: found[0]["type"] for name, found in ask("metadata").items() if name.startswith("postroad_")}
    assert kinds == {each.name.removesuffix("_total"): each.kind for each in REGISTRY if each not in ABSENT}
    wait_for(lambda: all(rule["health"] == "ok" for rule in ask("rules")["groups"][0]["rules"]), 30, "evaluation")


def test_the_alerts_go_off_when_they_should() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tried = subprocess.run(
        ["promtool", "test", "rules", str(Path(__file__).with_name("alerts.test.yml"))], capture_output=True, text=True
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr

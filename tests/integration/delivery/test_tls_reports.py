# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS reports (RFC 8460): a day's sessions become JSON, carried by our own queue to smtp-sink, and by HTTPS."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay_agent.delivery.tls.https import HttpsClient
from relay_agent.delivery.tls.report_send import ReportSender

from .conftest import MakeRelay, Relay
from .peers import Sink
from .tls_world import CHAINED, MUTE, REPORTS, SELF_SIGNED, STRANGER, TlsWorld

MakeSink = Callable[..., Sink]
_CONFIGURED = {"tls_reports": {"contact": "postmaster@relay.test", "organization": "Example Relay"}}


def _sender(relay: Relay, world: TlsWorld) -> ReportSender:
    """The relay's own sender of reports; the web host is allowed to be on loopback, and at another port."""
    sender = relay.dispatcher._tls._reports
    assert sender is not None
    sender.client = HttpsClient(world.authority.file, world.web_port)
    return sender


async def _yesterday(sender: ReportSender, directory: Path) -> str:
    """Put what was counted a day back, as if the day were over."""
    await sender.flush()
    (today,) = (directory / "tls-reports").glob("*.counts")
    day = dt.date.fromisoformat(today.stem) - dt.timedelta(days=1)
    today.rename(today.with_name(f"{day}.counts"))
    return str(day)


def _policies(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["policy"]["policy-type"]: each for each in report["policies"]}


async def test_a_day_is_reported(relay: MakeRelay, sink: MakeSink, world: TlsWorld, tmp_path: Path) -> None:
    """tls = "verified" would keep the reports from a host without STARTTLS: they go all the same, and uncounted."""
    inbox = sink(REPORTS, port=world.smtp_port)
    policy = [{"domains": ["reports.open.test"], "tls": "verified"}]
    sender = await relay(**world.delivery, sections={**_CONFIGURED, "tls_policy": policy})
    domains = ("ee.signed.test", "trial.open.test", "sts.open.test", "broken.open.test")
    await sender.send(*(f"ida@{domain}" for domain in domains))
    await sender.outcome("delivered", 4)
    refusing = ("wrong.signed.test", "tampered.signed.test", "mute.open.test", "foreign.open.test")
    await sender.send(*(f"ida@{domain}" for domain in refusing))
    await sender.outcome("deferred", 4)

    reports = _sender(sender, world)
    day = await _yesterday(reports, tmp_path / "shared")
    await reports.send_due()
    await sender.outcome("delivered", 4 + 8)
    assert not sender.events.named("tls_report_trouble")
    assert len(sender.events.named("tls_report")) == 8 + 5  # the unsigned ones want theirs by HTTPS, too

    mails = {each.parsed["TLS-Report-Domain"]: each for each in inbox.received()}
    assert set(mails) == {*domains, *refusing}
    mail = mails["trial.open.test"]
    assert mail.sender.startswith("<postmaster@relay.test>")
    assert mail.recipients == ("<tls@reports.open.test> NOTIFY=NEVER",)
    assert mail.parsed.get_content_type() == "multipart/report"
    assert mail.parsed.get_param("report-type") == "tlsrpt"
    assert mail.parsed["TLS-Report-Submitter"] == "relay.test"
    subject = re.sub(r"\s+", " ", mail.parsed["Subject"])
    assert re.fullmatch(r"Report Domain: trial.open.test Submitter: relay.test Report-ID: <\S+@relay.test>", subject)
    words, attached = list(mail.parsed.walk())[1:]
    assert words.get_content_type() == "text/plain"
    assert attached.get_content_type() == "application/tlsrpt+gzip"
    begin = int(dt.datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
    name = attached.get_filename() or ""
    assert name.startswith(f"relay.test!trial.open.test!{begin}!{begin + 86399}!")
    assert name.endswith(".json.gz")

    found = {domain: json.loads(gzip.decompress(_attachment(each))) for domain, each in mails.items()}
    trial = found["trial.open.test"]
    assert trial["organization-name"] == "Example Relay"
    assert trial["contact-info"] == "postmaster@relay.test"
    assert trial["date-range"] == {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"}
    assert trial["report-id"] in subject
    sts = _policies(trial)["sts"]
    assert sts["policy"] == {
        "policy-type": "sts",
        "policy-string": ["version: STSv1", "mode: testing", "mx: mx.trial.open.test", "max_age: 86400"],
        "policy-domain": "trial.open.test",
        "mx-host": ["mx.trial.open.test"],
    }
    assert sts["summary"] == {"total-successful-session-count": 0, "total-failure-session-count": 1}
    (detail,) = sts["failure-details"]
    assert detail["result-type"] == "certificate-not-trusted"
    assert detail["receiving-mx-hostname"] == "mx.trial.open.test"
    assert detail["receiving-ip"] == STRANGER
    assert detail["sending-mta-ip"].startswith("127.")
    assert detail["failed-session-count"] == 1

    assert _policies(found["ee.signed.test"])["tlsa"]["summary"]["total-successful-session-count"] == 1
    assert _policies(found["sts.open.test"])["sts"]["summary"]["total-successful-session-count"] == 1
    results = {
        domain: (kind, detail["result-type"], detail.get("receiving-ip"))
        for domain in ("broken.open.test", *refusing)
        for kind, policy in _policies(found[domain]).items()
        for detail in policy.get("failure-details", ())
    }
    assert results == {
        "broken.open.test": ("sts", "sts-policy-invalid", None),
        "wrong.signed.test": ("tlsa", "validation-failure", SELF_SIGNED),
        "tampered.signed.test": ("tlsa", "dnssec-invalid", None),
        "mute.open.test": ("sts", "starttls-not-supported", MUTE),
        "foreign.open.test": ("sts", "validation-failure", None),
    }

    posted = {json.loads(gzip.decompress(each.partition(b"\n\n")[2]))["report-id"] for each in world.web.posted()}
    assert posted >= {found[domain]["report-id"] for domain in found if domain.endswith(".open.test")}
    assert all(each.startswith(b"/tls?x=1\n") for each in world.web.posted())
    assert b"application/tlsrpt+gzip" in world.web.posted()[0]
    assert not list((tmp_path / "shared" / "tls-reports").glob("*.counts")), "the day is forgotten"
    await reports.flush()
    assert not list((tmp_path / "shared" / "tls-reports").glob("*.counts")), "reports do not count"


def _attachment(mail: Any) -> bytes:
    content = mail.parsed.get_payload()[1].get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


async def test_what_could_not_be_posted_is_tried_again_and_nothing_goes_twice(
    relay: MakeRelay, sink: MakeSink, world: TlsWorld, tmp_path: Path
) -> None:
    inbox = sink(REPORTS, port=world.smtp_port)
    sender = await relay(**world.delivery, sections=_CONFIGURED)
    await sender.send("jan@sts.open.test")
    await sender.outcome("delivered")
    reports = _sender(sender, world)
    await _yesterday(reports, tmp_path / "shared")
    before = len(world.web.posted())
    world.web.stop()
    try:
        await reports.send_due()
        (trouble,) = sender.events.named("tls_report_trouble")
        assert trouble["to"] == "https://rua.open.test/tls?x=1"
    finally:
        world.web.start()
    await reports.send_due()
    await sender.outcome("tls_report", 2)
    await sender.outcome("delivered", 2)
    assert len(inbox.received()) == 1
    assert len(world.web.posted()) == before + 1


async def test_a_web_host_inside_is_not_spoken_to(
    relay: MakeRelay, sink: MakeSink, world: TlsWorld, tmp_path: Path
) -> None:
    """Anybody can publish the address of our router as the place for reports."""
    sink(REPORTS, port=world.smtp_port)
    sender = await relay(**world.delivery, sections=_CONFIGURED)
    await sender.send("kai@sts.open.test")
    await sender.outcome("delivered")
    reports = sender.dispatcher._tls._reports
    await _yesterday(reports, tmp_path / "shared")
    await reports.send_due()
    (trouble,) = sender.events.named("tls_report_trouble")
    assert "has no address that may be spoken to" in trouble["reason"]


async def test_without_the_section_nothing_is_counted(relay: MakeRelay, world: TlsWorld, tmp_path: Path) -> None:
    sender = await relay(**world.delivery)
    await sender.send("lea@sts.open.test")
    await sender.outcome("delivered")
    await sender.dispatcher.stop(0.5)
    assert not (tmp_path / "shared" / "tls-reports").exists()


@pytest.mark.parametrize("domain", ["ee.signed.test", "sts.open.test"])
async def test_a_stop_loses_no_counts(relay: MakeRelay, world: TlsWorld, tmp_path: Path, domain: str) -> None:
    sender = await relay(**world.delivery, sections=_CONFIGURED)
    await sender.send(f"max@{domain}")
    await sender.outcome("delivered")
    await sender.dispatcher.stop(0.5)
    (file,) = (tmp_path / "shared" / "tls-reports").glob("*.counts")
    assert domain in file.read_text()
    assert CHAINED not in file.read_text(), "only failures say where"

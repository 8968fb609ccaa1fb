# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS reports (RFC 8460): the JSON, where a domain wants it, and the mail that carries it; no I/O."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

from relay_agent.delivery.tls.tally import Applied, Count

__all__ = ["Report", "Reporter", "Uri", "make_report", "report_mail", "report_uris"]

_MOST_URIS = 5
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+", re.ASCII)
_URL_TEXT = re.compile(r"[!-~]{1,1000}", re.ASCII)


@dataclass(slots=True, frozen=True)
class Uri:
    """Where a report goes: `address` for mail, else `host` and `path` for HTTPS. text: as it was published."""

    text: str
    address: str = ""
    host: str = ""
    path: str = ""


@dataclass(slots=True, frozen=True)
class Reporter:
    """Who reports: the organization, an address for questions, the relay's host name."""

    organization: str
    contact: str
    hostname: str


@dataclass(slots=True, frozen=True)
class Report:
    """The report of one domain for one day. name: of the file; content: JSON, compressed."""

    domain: str
    id: str
    name: str
    content: bytes


def report_uris(texts: Iterable[str]) -> tuple[Uri, ...]:
    """Where a domain wants its reports, by the TXT records at ``_smtp._tls.<domain>`` (RFC 8460 3)."""
    records = [text for text in texts if re.match(r"v=TLSRPTv1\s*;", text)]
    if len(records) != 1:
        return ()
    for part in records[0].split(";")[1:]:
        key, _, value = part.strip().partition("=")
        if key.strip() == "rua":
            uris = (_uri(each.strip()) for each in value.split(","))
            return tuple(dict.fromkeys(uri for uri in uris if uri is not None))[:_MOST_URIS]
    return ()


def _uri(text: str) -> Uri | None:
    """What we can report to: an address that is plain, or HTTPS at its own port. None for anything else."""
    if not _URL_TEXT.fullmatch(text):
        return None
    if text.lower().startswith("mailto:"):
        address = unquote(text[7:].partition("?")[0])
        return Uri(text, address=address) if _ADDRESS.fullmatch(address) else None
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    if url.scheme.lower() != "https" or not url.hostname or url.username is not None or port not in (None, 443):
        return None
    return Uri(
        text, host=url.hostname.lower().rstrip("."), path=(url.path or "/") + (f"?{url.query}" if url.query else "")
    )


def make_report(reporter: Reporter, day: str, domain: str, counts: Mapping[Applied, Count]) -> Report:
    """The report of `domain` for `day` (``2026-11-24``, UTC) from what was counted under its policies.

    Its id follows from relay, domain and day: a report that goes out twice can be told.
    """
    digest = hashlib.sha256(f"{reporter.hostname} {domain} {day}".encode()).hexdigest()[:20]
    identifier = f"{day}.{digest}@{reporter.hostname}"
    begin = dt.datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=dt.UTC)
    end = begin + dt.timedelta(days=1, seconds=-1)
    document = {
        "organization-name": reporter.organization,
        "date-range": {"start-datetime": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end-datetime": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        "contact-info": reporter.contact,
        "report-id": identifier,
        "policies": [_policy(applied, count) for applied, count in counts.items()],
    }
    span = f"{int(begin.timestamp())}!{int(end.timestamp())}"
    name = f"{reporter.hostname}!{domain}!{span}!{digest}.json.gz"
    return Report(domain, identifier, name, gzip.compress(json.dumps(document).encode(), mtime=0))


def _policy(applied: Applied, count: Count) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": applied.kind}
    if applied.lines:
        policy["policy-string"] = list(applied.lines)
    policy["policy-domain"] = applied.domain
    if applied.mx:
        policy["mx-host"] = list(applied.mx)
    details = []
    for failure, number in count.failures.items():
        told = {
            "result-type": str(failure.result),
            "sending-mta-ip": failure.own_address,
            "receiving-mx-hostname": failure.host,
            "receiving-ip": failure.address,
            "failed-session-count": number,
            "additional-information": failure.text,
        }
        details.append({key: value for key, value in told.items() if value != ""})
    document: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": count.good,
            "total-failure-session-count": count.failures.total(),
        },
    }
    if details:
        document["failure-details"] = details
    return document


def report_mail(reporter: Reporter, report: Report, to: str) -> bytes:
    """The message that carries a report (RFC 8460 5.3), CRLF line ends.

    TLS-Required: No asks relays further on for what we do ourselves: carry it whatever TLS is like, since its news
    may be that TLS is broken (RFC 8689 3).
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"TLS reports <{reporter.contact}>"
    mail["To"] = to
    mail["Subject"] = f"Report Domain: {report.domain} Submitter: {reporter.hostname} Report-ID: <{report.id}>"
    mail["Date"] = formatdate(time.time())
    mail["Message-ID"] = f"<{report.id}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["TLS-Required"] = "No"
    mail["TLS-Report-Domain"] = report.domain
    mail["TLS-Report-Submitter"] = reporter.hostname
    mail["MIME-Version"] = "1.0"
    mail["Content-Type"] = 'multipart/report; report-type="tlsrpt"'
    words = MIMEPart(policy=SMTP)
    words.set_content(
        f"This is an aggregate TLS report (RFC 8460) of {reporter.organization}: what {reporter.hostname} met\n"
        f"when it delivered mail for {report.domain}. Questions: {reporter.contact}\n"
    )
    data = MIMEPart(policy=SMTP)
    data.set_content(report.content, "application", "tlsrpt+gzip", cte="base64", filename=report.name)
    mail.set_payload([words, data])
    return mail.as_bytes()

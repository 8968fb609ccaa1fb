# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's JSON, its mail, and where it goes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.delivery.tls.policy import ResultType
from relay_agent.delivery.tls.report import Reporter, Uri, make_report, report_mail, report_uris
from relay_agent.delivery.tls.tally import Applied, Count, Failure

_REPORTER = Reporter("Example", "tls@relay.example", "relay.example")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=TLSRPTv1; rua=mailto:reports@example.com"], [Uri("mailto:reports@example.com", "reports@example.com")]),
        (["v=TLSRPTv1;rua=MAILTO:a%2Bb@example.com"], [Uri("MAILTO:a%2Bb@example.com", "a+b@example.com")]),
        (["v=TLSRPTv1; rua=https://r.example/v1?x=1"], [Uri("https://r.example/v1?x=1", "", "r.example", "/v1?x=1")]),
        (["v=TLSRPTv1; rua=https://R.example:443"], [Uri("https://R.example:443", "", "r.example", "/")]),
        (["v=TLSRPTv1; rua=mailto:a@b.example, mailto:a@b.example"], [Uri("mailto:a@b.example", "a@b.example")]),
        (["v=spf1", "v=TLSRPTv1 ; x=y; rua=ftp://x,mailto:a@b.example"], [Uri("mailto:a@b.example", "a@b.example")]),
        (["v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:c@d.example"], []),
        (["v=TLSRPTv1"], []),
        (["v=TLSRPTv1; ruf=mailto:a@b.example"], []),
        ([], []),
    ],
)
def test_where_reports_go(texts: list[str], expected: list[Uri]) -> None:
    assert list(report_uris(texts)) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "mailto:",
        "mailto:nobody",
        "mailto:a@b",
        "mailto:a@b.example%0d%0aDATA",
        "mailto:a%00@b.example",
        "mailto:%22a%20b%22@b.example",
        "mailto:a@[192.0.2.1]",
        "http://r.example/",
        "https:///x",
        "https://user:secret@r.example/",
        "https://r.example:8443/",
        "https://r.example:x/",
        "https://[::1",
        "https://r.example/a b",
        "https://r.example/\u00fc",
        "file:///etc/passwd",
    ],
)
def test_where_they_do_not_go(uri: str) -> None:
    assert report_uris([f"v=TLSRPTv1; rua={uri}"]) == ()


@given(st.text(max_size=100))
def test_nothing_that_is_published_raises(text: str) -> None:
    for uri in report_uris([f"v=TLSRPTv1; rua={text}", text]):
        assert uri.text.isascii()
        assert "\r" not in uri.address + uri.path
        assert "\n" not in uri.address + uri.path


def test_no_more_than_a_few() -> None:
    many = ",".join(f"mailto:r{number}@example.com" for number in range(50))
    assert len(report_uris([f"v=TLSRPTv1; rua={many}"])) == 5


def test_json() -> None:
    failure = Failure(ResultType.EXPIRED, "ended", "mx.example.org", "192.0.2.1", "2001:db8::1")
    counts = {
        Applied("example.org", "tlsa", ("3 1 1 ab",)): Count(5, Counter({failure: 2})),
        Applied("example.org", "no-policy-found"): Count(1),
    }
    report = make_report(_REPORTER, "2026-11-24", "example.org", counts)
    assert report.name.startswith("relay.example!example.org!1795478400!1795564799!")
    assert json.loads(gzip.decompress(report.content)) == {
        "organization-name": "Example",
        "date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"},
        "contact-info": "tls@relay.example",
        "report-id": report.id,
        "policies": [
            {
                "policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 ab"], "policy-domain": "example.org"},
                "summary": {"total-successful-session-count": 5, "total-failure-session-count": 2},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "192.0.2.1",
                        "receiving-mx-hostname": "mx.example.org",
                        "receiving-ip": "2001:db8::1",
                        "failed-session-count": 2,
                        "additional-information": "ended",
                    }
                ],
            },
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "example.org"},
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            },
        ],
    }
    assert make_report(_REPORTER, "2026-11-24", "example.org", counts).id == report.id
    assert make_report(_REPORTER, "2026-11-25", "example.org", counts).id != report.id


def test_the_mail() -> None:
    report = make_report(_REPORTER, "2026-11-24", "xn--bcher-kva.example", {})
    content = report_mail(_REPORTER, report, "r@example.com")
    assert content.count(b"\n") == content.count(b"\r\n")
    assert content.isascii()
    assert max(map(len, content.splitlines())) <= 998
    mail = message_from_bytes(content, policy=default)
    assert mail["To"] == "r@example.com"
    assert mail["TLS-Required"] == "No"
    assert mail["Message-ID"] == f"<{report.id}>"
    words, data = mail.iter_parts()
    assert "xn--bcher-kva.example" in words.get_content()
    assert data.get_content_type() == "application/tlsrpt+gzip"
    assert data.get_filename() == report.name
    assert data.get_content() == report.content

# SPDX-License-Identifier: GPL-3.0-or-later
"""A complaint as a mailbox provider sends it (ARF, RFC 5965), part by part as in its appendix B."""

from __future__ import annotations

__all__ = ["TRACE", "feedback_report"]

TRACE = "Received: by relay.test (Postroad) with ESMTPSA\n\tid 01KAQ8Z0J7M5T2X; Tue, 24 Nov 2026 08:00:00 +0000\n"


def feedback_report(
    *,
    kind: str = "abuse",
    recipient: str = "Original-Rcpt-To: <Bob@Beta.test>\n",
    sender: str = "Original-Mail-From: <news@alpha.test>\n",
    trace: str = TRACE,
    returned: str = "message/rfc822",
    to: str = "To: bob@beta.test\n",
) -> bytes:
    """The message; recipient, sender, trace and to are whole header lines."""
    text = f"""From: Feedback <fbl@provider.test>
To: <fbl@relay.test>
Subject: FW: Our offers of the week
Date: Tue, 24 Nov 2026 09:30:00 +0000
Message-ID: <complaint-1@provider.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
\tboundary="=_parts"

--=_parts
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

One of our users has marked this message as unwanted.

--=_parts
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Provider-Feedback/3.1
Version: 1
{sender}{recipient}Arrival-Date: Tue, 24 Nov 2026 08:00:05 +0000
Reported-Domain: alpha.test
Source-IP: 192.0.2.25

--=_parts
Content-Type: {returned}
Content-Disposition: inline

Return-Path: <news@alpha.test>
{trace}From: News <news@alpha.test>
{to}Subject: Our offers of the week
Message-ID: <offers-47@alpha.test>
Date: Tue, 24 Nov 2026 08:00:00 +0000

Buy now!

--=_parts--
"""
    return text.replace("\n", "\r\n").encode()

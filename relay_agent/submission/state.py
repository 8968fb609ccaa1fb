# SPDX-License-Identifier: GPL-3.0-or-later
"""What a submission session knows of its client, and what all of its commands share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from aiosmtpd.smtp import Envelope

from relay_agent.config.schema import Listener
from relay_agent.message.header import client_comment
from relay_agent.submission import external
from relay_agent.submission.chunks import ChunkedContent
from relay_agent.submission.incoming import IncomingMessage
from relay_agent.submission.rights import Rights
from relay_agent.submission.service import SubmissionService
from relay_agent.submission.sharing import Sharing

__all__ = ["MailEnvelope", "SessionState"]


class MailEnvelope(Envelope):
    """aiosmtpd's envelope, and what the parameters of MAIL and RCPT asked for, keywords in upper case.

    hold_until: seconds since the epoch, 0 for at once. hold_for: seconds, when the sender said for how long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, str] = {}
        self.recipient_options: dict[str, dict[str, str]] = {}  # by address
        self.hold_until = 0.0
        self.hold_for: float | None = None

    def held_until(self, now: float) -> float:
        """When the message is to be released, seconds since the epoch; 0 for at once. now: when it is accepted.

        The clock may have been put back since MAIL: a hold of so many seconds is no longer for that.
        """
        until = self.hold_until if self.hold_for is None else min(self.hold_until, now + self.hold_for)
        return until if until > now else 0.0


class SessionState(Sharing):
    """The state of one session; its commands are in the classes made of this one."""

    service: SubmissionService
    listener: Listener
    account: str | None
    rights: Rights
    _incoming: IncomingMessage | None
    _chunks: ChunkedContent | None  # the message under way came by BDAT so far
    _source: str
    _trusted: bool
    _auth_failures: int
    _counted: bool

    def _create_envelope(self) -> MailEnvelope:
        return MailEnvelope()

    def calls_offered(self) -> bool:
        """Whether sites can call in here for mail that waits for them."""
        raise LookupError

    @property
    def mail(self) -> MailEnvelope:
        """The envelope of the message under way."""
        return cast(MailEnvelope, self.envelope)

    @property
    def starts_tls(self) -> bool:
        """Whether a session in the clear has to give STARTTLS before anything else."""
        return self.listener.tls in ("starttls", "auto")

    def _may_submit(self) -> bool:
        return bool(self.session and self.session.authenticated) or (self._trusted and self.listener.auth != "required")

    def _auth_offered(self) -> bool:
        return self.listener.auth != "none" and (self.tls_active or self.listener.tls == "none")

    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered, best first; EXTERNAL to whose certificate is an account's only."""
        offered = self.service.mechanisms()
        names = external.certified_names(self.certificate, time.time()) if self.certificate else ()
        certified = any(self.service.verifier.account(name) is not None for name in names)
        return (external.NAME, *offered) if certified else offered

    @property
    def certificate(self) -> Mapping[str, Any]:
        """The client's certificate, verified in the handshake (`SSLSocket.getpeercert`); {} when it has none."""
        tls: Any = self.session.ssl if self.session is not None else None
        return (tls["peercert"] or {}) if tls else {}

    def trace_protocol(self) -> str:
        """The protocol's name in the Received line: RFC 3848, and RFC 6531 4.3 for UTF8SMTP."""
        assert self.session is not None
        assert self.envelope is not None
        name = "ESMTP" if self.session.extended_smtp else "SMTP"
        if self.envelope.smtp_utf8:
            name = "UTF8SMTP"
        if self.session.extended_smtp:
            name += ("S" if self.tls_active else "") + ("A" if self.session.authenticated else "")
        return name

    def trace_client(self) -> str:
        """The client as the Received line names it, "" when it stays private (`submission.trace_client`)."""
        if not self.service.config.submission.trace_client:
            return ""
        assert self.session is not None
        return client_comment(self.session.host_name or "", self.peer_address)

    def _reset(self) -> None:
        self._drop_incoming()
        self.envelope = self._create_envelope()

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        self._chunks = None
        if incoming is not None:
            incoming.discard()

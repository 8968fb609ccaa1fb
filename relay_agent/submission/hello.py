# SPDX-License-Identifier: GPL-3.0-or-later
"""How a session begins: EHLO and HELO (RFC 5321 4.1.1.1), STARTTLS (RFC 3207)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from relay_agent.submission.state import SessionState

__all__ = ["HelloCommands"]

_DATE = "%Y-%m-%dT%H:%M:%SZ"  # RFC 3339


class HelloCommands(SessionState):
    """Who is there, and what this session can do."""

    async def smtp_EHLO(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.1, with the extensions this session has now.

        PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), BINARYMIME and CHUNKING (RFC 3030), SMTPUTF8
        (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034: every reply of this package has one), DSN (RFC 3461), LIMITS
        (RFC 9422), REQUIRETLS (RFC 8689), STARTTLS (RFC 3207), AUTH (RFC 4954), FUTURERELEASE (RFC 4865), MT-PRIORITY
        (RFC 6710), ETRN (RFC 1985), ATRN (RFC 2645).
        """
        if not self._hello(arg, extended=True):
            return
        lines = [self.hostname, "PIPELINING", f"SIZE {self.rights.max_message_size}", "8BITMIME"]
        lines += ["BINARYMIME", "CHUNKING", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "MT-PRIORITY"]
        lines.append(f"LIMITS RCPTMAX={self.service.config.submission.max_recipients}")  # RFC 9422
        if self.tls_active:
            lines.append("REQUIRETLS")  # RFC 8689 2: only where TLS is on
        if self.starts_tls and not self.tls_active:
            lines.append("STARTTLS")
        if self._auth_offered():
            lines.append("AUTH " + " ".join(self.mechanisms()))
            hold = self.service.config.submission.max_hold
            if hold:  # RFC 4865 3; only for those who sign in
                lines.append(f"FUTURERELEASE {hold:.0f} {datetime.fromtimestamp(time.time() + hold, UTC):{_DATE}}")
            if self.calls_offered():
                lines += ["ETRN", "ATRN"]
        for line in lines[:-1]:
            self.say(f"250-{line}")
        self.say(f"250 {lines[-1]}")

    async def smtp_HELO(self, arg: str | None) -> None:
        """RFC 5321 4.1.1.1."""
        if self._hello(arg, extended=False):
            self.say(f"250 {self.hostname}")

    def _hello(self, name: str | None, *, extended: bool) -> bool:
        assert self.session is not None
        if not name or len(name) > 255 or not name.isprintable():
            self.say("501 5.5.4 Say who you are, as in: EHLO laptop.example.org")
            return False
        self._reset()
        self.session.host_name = name
        self.session.extended_smtp = extended
        return True

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """RFC 3207."""
        if self.tls_active or not self.starts_tls or self.service.tls_context is None:
            self.say("503 5.5.1 TLS is on already" if self.tls_active else "502 5.5.1 This port has no STARTTLS")
            return
        if arg:
            self.say("501 5.5.4 STARTTLS takes no argument")
            return
        self._reset()
        self.say("220 2.0.0 Go ahead with TLS")
        if self._in:
            self.events.event("input_behind_starttls", level="warning", peer=self.peer_address, bytes=len(self._in))
        await self.start_tls(self.service.tls_context)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The command XRELAY: what this relay is, signed; `relay-agent probe` asks for it."""

from __future__ import annotations

import asyncio

from relay_agent.submission.state import SessionState

__all__ = ["StateCommand"]

_PART = 400  # characters of a line (RFC 5321 4.5.3.1.5 allows 512)


class StateCommand(SessionState):
    """A command of our own (RFC 5321 4.1.5), not in the reply to EHLO: whoever asks knows it."""

    async def smtp_XRELAY(self, arg: str | None) -> None:
        """Our name, ports and key, signed by the key; before TLS, too, so that who strips TLS is recognised."""
        if arg:
            self.say("501 5.5.4 XRELAY takes no argument")
            return
        try:
            statement = self.service.known_statement() or await asyncio.to_thread(self.service.statement)
        except (OSError, ValueError, TypeError) as error:
            self.events.event("no_statement", level="warning", reason=str(error))
            statement = ""
        if not statement:
            self.say("502 5.5.1 This relay has no certificate to sign with")
            return
        parts = [statement[start : start + _PART] for start in range(0, len(statement), _PART)]
        for part in parts[:-1]:
            self.say(f"250-2.0.0 {part}")
        self.say(f"250 2.0.0 {parts[-1]}")

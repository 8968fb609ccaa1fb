# SPDX-License-Identifier: GPL-3.0-or-later
"""The AUTH command (RFC 4954): which mechanisms there are, what becomes of a sign-in, and what a wrong one costs."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

from relay_agent.accounts.store import Account
from relay_agent.accounts.verifier import VerifierBusyError
from relay_agent.submission.address import PathError
from relay_agent.submission.sign_in import MECHANISMS, SignInError
from relay_agent.submission.state import SessionState

__all__ = ["AuthCommands"]


class AuthCommands(SessionState):
    """Who it is."""

    async def smtp_AUTH(self, arg: str | None) -> None:
        """RFC 4954. A wrong password takes a second; too many end the session."""
        refusal = self._auth_refusal(arg)
        if refusal is not None:
            self.say(refusal)
            return
        words = (arg or "").split()
        initial = words[1].encode() if len(words) == 2 else None
        try:
            name, password = await MECHANISMS[words[0].upper()](initial, self._challenge)
            account = await self.service.verifier.verify(name, password)
        except SignInError as error:
            self.say(str(error))
            return
        except VerifierBusyError:
            self.say("454 4.7.0 Too many sign-ins at once; try again in a moment")
            return
        if account is None:
            await self._sign_in_failed(name)
        else:
            self._signed_in(account)

    def _signed_in(self, account: Account) -> None:
        assert self.session is not None
        if self.transport is None:
            return  # gone while its password was checked
        try:
            self.rights.sign_in(account)
        except PathError as error:
            self.say(str(error))
            return
        self.account = account.name
        self.session.authenticated = True
        self.session.auth_data = cast(Any, account.name)
        self.service.counters["auth_succeeded"] += 1
        self.say("235 2.7.0 Signed in")

    async def _sign_in_failed(self, name: str) -> None:
        self._auth_failures += 1
        self.service.counters["auth_failed"] += 1
        self.events.event(
            "auth_failed", level="warning", peer=self.peer_address, port=self.listener.port, account=name[:128]
        )
        await asyncio.sleep(1.0)
        self.say("535 5.7.8 The user name or the password is wrong")
        if self._auth_failures >= self.service.config.submission.max_auth_failures:
            self.say("421 4.7.0 Too many failed sign-ins; closing")
            self.close_after_reply()

    def _auth_refusal(self, arg: str | None) -> str | None:
        assert self.session is not None
        if not self.session.extended_smtp:
            return "503 5.5.1 Give EHLO first"
        if self.listener.auth == "none":
            return "502 5.5.1 This port has no sign-in"
        if not self._auth_offered():
            return "538 5.7.11 Give STARTTLS first: a password travels over TLS only"
        if self.session.authenticated:
            return "503 5.5.1 Signed in already"
        if self.envelope is not None and self.envelope.mail_from is not None:
            return "503 5.5.1 Not within a message"
        words = (arg or "").split()
        if not 1 <= len(words) <= 2:
            return "501 5.5.4 Syntax: AUTH mechanism [initial-response]"
        if words[0].upper() not in self.mechanisms():
            return f"504 5.5.4 Choose one of: {' '.join(self.mechanisms())}"
        return None

    async def _challenge(self, challenge: bytes) -> bytes:
        self.say("334 " + base64.b64encode(challenge).decode("ascii"))
        return await self.read_line()

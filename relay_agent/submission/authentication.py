# SPDX-License-Identifier: GPL-3.0-or-later
"""The AUTH command (RFC 4954): which mechanisms there are, what becomes of a sign-in, and what a wrong one costs."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Coroutine
from secrets import token_bytes
from typing import Any, TypeVar, cast

from relay_agent.accounts.hashing import prepare_password
from relay_agent.accounts.store import Account, normalise_name
from relay_agent.accounts.verifier import VerifierBusyError
from relay_agent.observability import measured
from relay_agent.policy.guessing import ShutOutError, Verdict, network_of
from relay_agent.policy.notices import tell_wrong_password
from relay_agent.policy.quota import in_words
from relay_agent.submission import bearer, external
from relay_agent.submission.address import PathError
from relay_agent.submission.scram import ScramDialogue, ScramError
from relay_agent.submission.sign_in import MECHANISMS, SignInError, decode
from relay_agent.submission.state import SessionState

__all__ = ["AuthCommands"]

_Result = TypeVar("_Result")
_SHUT_OUT = "454 4.7.0 Too many wrong passwords for this account from your network; try again {}"


class _ShutOutError(SignInError):
    """The guard is against it."""


class AuthCommands(SessionState):
    """Who it is."""

    async def smtp_AUTH(self, arg: str | None) -> None:
        """RFC 4954. A wrong password takes a second and more; too many end the session, or shut its network out."""
        refusal = self._auth_refusal(arg)
        if refusal is not None:
            self.say(refusal)
            return
        words = (arg or "").split()
        mechanism, initial = words[0].upper(), words[1].encode() if len(words) == 2 else None
        try:
            if mechanism == "SCRAM-SHA-256":
                account = await self._by_scram(initial)
            elif mechanism == external.NAME:
                account = await self._by_certificate(initial)
            elif mechanism in bearer.MECHANISMS:
                account = await self._by_token(mechanism, initial)
            else:
                account = await self._by_password(*await MECHANISMS[mechanism](initial, self._challenge))
        except SignInError as error:
            measured.SIGN_INS[mechanism, _result(error)] += 1
            self.say(str(error))
            return
        except VerifierBusyError:
            measured.SIGN_INS[mechanism, "busy"] += 1
            self.say("454 4.7.0 Too many sign-ins at once; try again in a moment")
            return
        if account is None:
            measured.SIGN_INS[mechanism, "failed"] += 1
            return
        signed_in = await self._signed_in(account)
        measured.SIGN_INS[mechanism, "succeeded" if signed_in else "limited"] += 1

    async def _by_password(self, name: str, password: bytes) -> Account | None:
        """The account, or None when the answer was given. Raises SignInError and VerifierBusyError."""
        return await self._guarded(name, prepare_password(password), self.service.verifier.verify(name, password))

    async def _by_scram(self, initial: bytes | None) -> Account | None:
        """RFC 5802. The server's last message is a challenge to which the answer is empty (RFC 4954 4)."""
        dialogue = ScramDialogue()
        try:
            name = dialogue.begin(decode(await self._challenge(b"") if initial is None else initial))
            account, keys = self.service.scram_keys(name)
            answer = decode(await self._challenge(dialogue.challenge(keys)))

            async def check() -> bytes | None:
                return dialogue.finish(answer)

            # What the password was cannot be told from a proof, so that every wrong one counts as another.
            final = await self._guarded(name, token_bytes(16), check())
        except ScramError as error:
            raise SignInError(f"501 5.5.2 SCRAM: {error}") from None
        if final is None or account is None:
            return None
        if decode(await self._challenge(final)):
            raise SignInError("501 5.5.2 SCRAM: the last answer is empty")
        return account

    async def _by_token(self, mechanism: str, initial: bytes | None) -> Account | None:
        """RFC 7628. Tokens cannot be guessed, so the guard has nothing to do with them."""
        from relay_agent.oauth.tokens import KeysUnavailableError, TokenError

        tokens = self.service.tokens()
        if tokens is None:  # the configuration changed since the mechanism was looked up
            raise SignInError("504 5.5.4 Sign-in by token was switched off")
        wanted, token = bearer.read_bearer(
            mechanism, decode(await self._challenge(b"") if initial is None else initial)
        )
        name, problem = wanted, ""
        try:
            name = _guarded_name(await tokens.check(token))
            if wanted and _guarded_name(wanted) != name:
                problem = f"it is {name}'s"
        except TokenError as error:
            problem = str(error)
        except KeysUnavailableError as error:
            self.events.event("oauth_keys_unavailable", level="error", problem=str(error))
            raise SignInError("454 4.7.0 Tokens cannot be checked at the moment; try again later") from None
        account = None if problem else self.service.verifier.account(name)
        if account is not None:
            return account
        # The program gives an empty answer, or ^A, before it is told (RFC 7628 3.2.3).
        await self._challenge(bearer.failure_message(mechanism))
        problem = problem or "there is no such account"
        await self._sign_in_failed(name, Verdict(1.0, 0.0), "The access token is not good here", problem=problem)
        return None

    async def _by_certificate(self, initial: bytes | None) -> Account | None:
        """RFC 4422 appendix A. TLS has verified the certificate; nothing here can be guessed, as with tokens."""
        wanted = external.read_authorization(decode(await self._challenge(b"") if initial is None else initial))
        names = external.certified_names(self.certificate, time.time())
        try:
            return external.account_of(names, wanted, self.service.verifier.account)
        except external.CertificateError as error:
            name = wanted or next(iter(names), "")
            what = "Your certificate is not that of an account here"
            await self._sign_in_failed(name, Verdict(1.0, 0.0), what, problem=str(error))
            return None

    async def _guarded(self, name: str, secret: bytes, check: Coroutine[Any, Any, _Result | None]) -> _Result | None:
        """The result of a check, unless the guard is against it; None is a wrong password, and was answered."""
        guard, policy = self.service.guard, self.service.config.policy
        key, network = _guarded_name(name), network_of(self.peer_address, policy)
        try:
            wait = guard.before(key, network, secret, policy)
        except ShutOutError as error:
            check.close()
            self.service.counters["auth_shut_out"] += 1
            raise _ShutOutError(_SHUT_OUT.format(in_words(error.seconds))) from None
        try:
            if wait:
                await asyncio.sleep(wait)
            result = await check
        except BaseException:
            check.close()
            guard.dropped(key, network, secret)
            raise
        if result is not None:
            guard.succeeded(key, network)
            return result
        verdict = guard.failed(key, network, secret, policy)
        tell_wrong_password(policy.shut_out_notices, self.peer_address, key, verdict.shut_out)
        await self._sign_in_failed(name, verdict, "The user name or the password is wrong")
        return None

    async def _signed_in(self, account: Account) -> bool:
        """Whether it is; False when the account has as many sessions as it may, or the client is gone."""
        assert self.session is not None
        try:
            await self.rights.sign_in(account)
        except PathError as error:
            self.say(str(error))
            return False
        if self.transport is None:  # gone meanwhile
            self.rights.leave()
            return False
        self.account = account.name
        self.session.authenticated = True
        self.known()
        self.session.auth_data = cast(Any, account.name)
        self.service.counters["auth_succeeded"] += 1
        self.say("235 2.7.0 Signed in")
        return True

    async def _sign_in_failed(self, name: str, verdict: Verdict, what: str, *, problem: str | None = None) -> None:
        """Tell client and operator. what: for the client. problem: more than that, for the log."""
        self._auth_failures += 1
        self.service.counters["auth_failed"] += 1
        peer, port, account = self.peer_address, self.listener.port, name[:128]
        self.events.event("auth_failed", level="warning", peer=peer, port=port, account=account, problem=problem)
        if verdict.shut_out:
            measured.SHUT_OUTS.add()
            # With all that a firewall needs to do its part.
            network, seconds = network_of(peer, self.service.config.policy), round(verdict.shut_out)
            self.events.event(
                "shut_out", level="warning", peer=peer, port=port, account=account, network=network, seconds=seconds
            )
        await asyncio.sleep(verdict.delay)
        self.say(f"535 5.7.8 {what}")
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
        mechanism = words[0].upper()
        # A certificate that is nobody's here is told so, instead of what else there is.
        certified = mechanism == external.NAME and self.certificate
        if mechanism not in self.mechanisms() and not certified:
            return f"504 5.5.4 Choose one of: {' '.join(self.mechanisms())}"
        return None

    async def _challenge(self, challenge: bytes) -> bytes:
        self.say("334 " + base64.b64encode(challenge).decode("ascii"))
        return await self.read_line()


def _result(error: SignInError) -> str:
    """What an answer that ended a sign-in says of it, for the metrics."""
    if isinstance(error, _ShutOutError):
        return "shut_out"
    return "busy" if str(error).startswith("454") else "malformed"


def _guarded_name(name: str) -> str:
    """The name by which guesses are counted: whatever is taken for one account is one name."""
    try:
        return normalise_name(name)
    except ValueError:
        return name

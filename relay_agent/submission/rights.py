# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session may do, by the account that signed in: as whom it sends, how much, how large (RFC 6409 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from relay_agent.accounts.store import Account
from relay_agent.config.schema import Config
from relay_agent.message.header import Rule
from relay_agent.observability import measured
from relay_agent.policy.authors import AuthorRule
from relay_agent.policy.quota import LimitReachedError, Quota
from relay_agent.policy.senders import AllowedSenders, allowed_senders
from relay_agent.submission.address import PathError

if TYPE_CHECKING:
    from relay_agent.submission.service import SubmissionService

__all__ = ["Rights", "senders_of"]

_NOBODY = allowed_senders(())


def senders_of(account: Account, check: str) -> AllowedSenders | None:
    """What an account may send as under `submission.sender_check`; None for anything."""
    if check == "off":
        return None
    if account.addresses:
        return allowed_senders(account.addresses)
    if "@" in account.name:
        return allowed_senders((account.name,))
    return None if check == "listed" else _NOBODY


class Rights:
    """The rights of one session. Without an account (a trusted network) there is nothing to hold it to.

    The account is looked up again for each message: a change of it holds for sessions that are open, too.
    Every method that refuses raises PathError with the SMTP reply.
    """

    __slots__ = ("_account", "_config", "_entered", "_name", "_quota", "_senders", "_service")

    def __init__(self, service: SubmissionService) -> None:
        self._service = service
        self._name = ""
        self._entered = False
        self._account: Account | None = None
        self._config: Config | None = None
        self._quota: Quota | None = None
        self._senders: AllowedSenders | None = None

    async def sign_in(self, account: Account) -> None:
        """Take the rights of this account. Raises PathError when it has too many sessions."""
        self._load(account)
        assert self._quota is not None
        try:
            entered = await self._service.quotas.enter(account.name, self._quota)
        except LimitReachedError as error:
            self._account = self._quota = self._senders = None
            raise self._told(error, account.name) from None
        self._name, self._entered = account.name, entered

    def leave(self) -> None:
        """The session has ended."""
        if self._entered:
            self._entered = False
            self._service.quotas.leave(self._name)

    def sender(self, address: str) -> str:
        """The reverse path to use for the one that MAIL has; the null one is everybody's (RFC 8098 3)."""
        if not self._name:
            return address
        account = self._service.verifier.account(self._name)
        if account is None:
            raise PathError("530 5.7.0 Your account was locked or deleted; ask its administrator")
        if account is not self._account or self._service.config is not self._config:
            self._load(account)
        assert self._quota is not None
        try:
            self._service.quotas.check_message(self._name, self._quota)
        except LimitReachedError as error:
            raise self._told(error, self._name) from None
        if not address or self._senders is None or self._senders.permits(address):
            return address
        replacement = self._replacement()
        if not replacement:
            self._service.counters["sender_refused"] += 1
            raise PathError(f"553 5.7.1 You may not send as <{address}>; choose an address of your account")
        return replacement

    def recipient(self, count: int) -> None:
        """May the message have this many recipients?"""
        if self._name:
            assert self._quota is not None
            try:
                self._service.quotas.check_recipients(self._name, self._quota, count)
            except LimitReachedError as error:
                raise self._told(error, self._name) from None

    def priority(self, asked: int) -> int:
        """What a message gets of the priority it asks for (RFC 6710): as far as the account may go."""
        policy = self._service.config.policy
        lowest, highest = policy.priority_lowest, policy.priority_highest
        if self._quota is not None:
            lowest, highest = self._quota.priority_lowest, self._quota.priority_highest
        return max(min(asked, highest), lowest)

    @property
    def max_message_size(self) -> int:
        """Bytes; never more than `submission.max_message_size`."""
        limit = self._service.config.submission.max_message_size
        own = self._quota.message_size if self._quota is not None else 0
        return min(limit, own) if own else limit

    def header_rule(self, envelope_sender: str) -> Rule | None:
        """What the header is held to; envelope_sender: as `sender` returned it."""
        if self._senders is None:
            return None
        return AuthorRule(self._senders, envelope_sender, self._replacement())

    def accepted(self, recipients: int) -> None:
        """A message was accepted; it counts now."""
        if self._quota is not None and self._name:
            self._service.quotas.spend(self._name, self._quota, recipients)

    def _load(self, account: Account) -> None:
        config = self._config = self._service.config
        self._account = account
        self._quota = Quota.of(config.policy, account.limits)
        self._senders = senders_of(account, config.submission.sender_check)

    def _replacement(self) -> str:
        rewrite = self._service.config.submission.sender_mismatch == "rewrite"
        return self._senders.first if rewrite and self._senders is not None else ""

    def _told(self, error: LimitReachedError, account: str) -> PathError:
        service = self._service
        service.counters["limit_reached"] += 1
        measured.LIMIT_REACHED[error.limit] += 1
        service.counters[f"limit_reached_{error.limit}"] += 1
        if service.quotas.worth_a_line(account, error.limit):
            retry_after = None if error.retry_after == math.inf else round(error.retry_after, 1)
            service.events.event(
                "limit_reached", level="warning", account=account, limit=error.limit, retry_after=retry_after
            )
        return PathError(error.reply)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What one account may use: messages and recipients an hour, size, sessions at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from relay_agent.accounts.limits import AccountLimits
from relay_agent.config.schema import Policy
from relay_agent.leases import Leases
from relay_agent.queue.lanes import HIGHEST, LOWEST

from .buckets import Allowance, Buckets, Rate

__all__ = ["LimitReachedError", "Quota", "Quotas", "in_words"]

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)  # seconds
_NOTICE_EVERY = 60.0  # seconds between two log lines about the same limit of the same account


class LimitReachedError(Exception):
    """An account is at a limit.

    limit: its name in the configuration. reply: the SMTP reply. retry_after: seconds, infinity when waiting
    does not help.
    """

    def __init__(self, limit: str, reply: str, retry_after: float) -> None:
        super().__init__(reply)
        self.limit = limit
        self.reply = reply
        self.retry_after = retry_after


def in_words(seconds: float) -> str:
    """A wait as a person says it: "in 40 seconds", "in 12 minutes"; rounded up."""
    if seconds < 100:
        number, unit = max(1, math.ceil(seconds)), "second"
    elif seconds < 6000:
        number, unit = math.ceil(seconds / 60), "minute"
    else:
        number, unit = math.ceil(seconds / 3600), "hour"
    return f"in {number} {unit}{'' if number == 1 else 's'}"


@dataclass(slots=True, frozen=True)
class Quota:
    """The limits that hold for one account; 0 is no limit. Priorities are those of RFC 6710, where 0 is the usual."""

    messages: Rate
    recipients: Rate
    message_size: int
    sessions: int
    priority_lowest: int = LOWEST
    priority_highest: int = HIGHEST

    @classmethod
    def of(cls, policy: Policy, own: AccountLimits) -> Quota:
        """The account's own limits, and those of `[policy]` for the rest."""

        def pick(name: str) -> int:
            value: int | None = getattr(own, name)
            return int(getattr(policy, name)) if value is None else value

        return cls(
            Rate(pick("messages_per_hour"), max(1, pick("messages_burst"))),
            Rate(pick("recipients_per_hour"), max(1, pick("recipients_burst"))),
            pick("message_size"),
            pick("sessions"),
            pick("priority_lowest"),
            pick("priority_highest"),
        )


class Quotas:
    """What accounts have used so far.

    allowance: where messages and recipients are counted. places: where sessions are, for the whole host.
    clock: seconds that never go back.
    """

    def __init__(
        self,
        allowance: Allowance | None = None,
        places: Leases | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowance = allowance or Buckets(clock)
        self._places = places or Leases()
        self._clock = clock
        self._noticed: dict[tuple[str, str], float] = {}

    async def enter(self, account: str, quota: Quota) -> bool:
        """A session has signed in. Whether it takes a place, which `leave` has to give back.

        Raises LimitReachedError when there is none.
        """
        if not quota.sessions:
            return False
        for pause in _PAUSES:
            if self._places.take(_place(account), quota.sessions):
                return True
            # The supervisor may be about to lease more of them to this process.
            await asyncio.sleep(pause)
        if not self._places.take(_place(account), quota.sessions):
            reply = f"454 4.7.0 Your account has {quota.sessions} sessions open, as many as it may; close one first"
            raise LimitReachedError("sessions", reply, 0.0)
        return True

    def leave(self, account: str) -> None:
        """A session that had a place has ended."""
        self._places.give(_place(account))

    def check_message(self, account: str, quota: Quota) -> None:
        """Raise LimitReachedError unless the account may send a message now."""
        wait = self._allowance.wait(f"m {account}", quota.messages, 1)
        if wait:
            # RFC 5321 4.2.2: 450 is also for "temporarily blocked for policy reasons".
            reply = (
                f"450 4.7.1 Your account may send {quota.messages.per_hour} messages an hour; "
                f"try again {in_words(wait)}"
            )
            raise LimitReachedError("messages_per_hour", reply, wait)

    def check_recipients(self, account: str, quota: Quota, count: int) -> None:
        """Raise LimitReachedError unless the account may send to so many recipients now."""
        wait = self._allowance.wait(f"r {account}", quota.recipients, count)
        if wait == math.inf:
            # RFC 5321 4.5.3.1.10: the program sends the rest as a message of its own.
            reply = f"452 4.5.3 No more than {quota.recipients.burst} recipients at once"
            raise LimitReachedError("recipients_burst", reply, wait)
        if wait:
            reply = (
                f"450 4.7.1 Your account may send to {quota.recipients.per_hour} recipients an hour; "
                f"try again {in_words(wait)}"
            )
            raise LimitReachedError("recipients_per_hour", reply, wait)

    def spend(self, account: str, quota: Quota, recipients: int) -> None:
        """A message was accepted."""
        self._allowance.spend(f"m {account}", quota.messages, 1)
        self._allowance.spend(f"r {account}", quota.recipients, recipients)

    def worth_a_line(self, account: str, limit: str) -> bool:
        """Whether the log should be told: not again for each of a thousand refusals in a minute."""
        now = self._clock()
        if now - self._noticed.get((account, limit), -math.inf) < _NOTICE_EVERY:
            return False
        if len(self._noticed) > 1000:
            self._noticed = {key: then for key, then in self._noticed.items() if now - then < _NOTICE_EVERY}
        self._noticed[account, limit] = now
        return True


def _place(account: str) -> str:
    return f"sessions of {account}"

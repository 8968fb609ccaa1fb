# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio

import pytest

from relay_agent.accounts.limits import AccountLimits
from relay_agent.config.schema import Policy
from relay_agent.leases import LeaseOffice, Leases
from relay_agent.policy.quota import LimitReachedError, Quota, Quotas, in_words

from .test_buckets import Clock

POLICY = Policy(messages_per_hour=60, messages_burst=2, recipients_per_hour=600, recipients_burst=10, sessions=2)


def test_an_accounts_own_limits_come_first() -> None:
    own = AccountLimits(messages_per_hour=0, recipients_burst=50, sessions=0)
    quota = Quota.of(POLICY, own)
    assert (quota.messages.per_hour, quota.messages.burst) == (0, 2)
    assert (quota.recipients.per_hour, quota.recipients.burst) == (600, 50)
    assert quota.sessions == 0


def test_messages() -> None:
    clock = Clock()
    quotas, quota = Quotas(clock=clock), Quota.of(POLICY, AccountLimits())
    for _ in range(2):
        quotas.check_message("alice", quota)
        quotas.spend("alice", quota, 1)
    with pytest.raises(LimitReachedError) as caught:
        quotas.check_message("alice", quota)
    assert caught.value.reply == "450 4.7.1 Your account may send 60 messages an hour; try again in 60 seconds"
    assert caught.value.limit == "messages_per_hour"
    assert caught.value.retry_after == pytest.approx(60)
    quotas.check_message("bob", quota)
    clock.now += 60
    quotas.check_message("alice", quota)


def test_recipients() -> None:
    clock = Clock()
    quotas, quota = Quotas(clock=clock), Quota.of(POLICY, AccountLimits())
    quotas.check_recipients("alice", quota, 10)
    with pytest.raises(LimitReachedError, match=r"452 4\.5\.3 No more than 10 recipients at once"):
        quotas.check_recipients("alice", quota, 11)
    quotas.spend("alice", quota, 10)
    with pytest.raises(LimitReachedError, match=r"450 4\.7\.1 .* try again in 6 seconds"):
        quotas.check_recipients("alice", quota, 1)


async def test_sessions() -> None:
    quotas, quota = Quotas(), Quota.of(POLICY, AccountLimits())
    assert await quotas.enter("alice", quota)
    assert await quotas.enter("alice", quota)
    with pytest.raises(LimitReachedError, match=r"454 4\.7\.0"):
        await quotas.enter("alice", quota)
    quotas.leave("alice")
    assert await quotas.enter("alice", quota)
    assert not await quotas.enter("bob", Quota.of(POLICY, AccountLimits(sessions=0)))


async def test_a_place_that_the_supervisor_grants_a_moment_later_is_waited_for() -> None:
    office = LeaseOffice()

    class Slow:
        async def take(self, key: str, limit: int, amount: int) -> int:
            await asyncio.sleep(0.05)
            return office.take(1, key, limit, amount)

        def give(self, key: str, amount: int) -> None:
            office.give(1, key, amount)

    quotas = Quotas(places=Leases(Slow()))
    quota = Quota.of(Policy(sessions=50), AccountLimits())
    assert await asyncio.gather(*(quotas.enter("alice", quota) for _ in range(20))) == [True] * 20


def test_the_log_is_told_once_a_minute() -> None:
    clock = Clock()
    quotas = Quotas(clock=clock)
    assert quotas.worth_a_line("alice", "sessions")
    assert not quotas.worth_a_line("alice", "sessions")
    assert quotas.worth_a_line("alice", "messages_per_hour")
    clock.now += 61
    assert quotas.worth_a_line("alice", "sessions")
    for number in range(3000):
        clock.now += 1
        quotas.worth_a_line(str(number), "sessions")
    assert len(quotas._noticed) < 1100


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "in 1 second"), (59.1, "in 60 seconds"), (101, "in 2 minutes"), (7000, "in 2 hours")],
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words

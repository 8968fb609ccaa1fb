# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import json
from typing import Any

from relay_agent.policy.buckets import Buckets, Rate
from relay_agent.supervisor.spending import SharedBuckets, spend_all

RATE = Rate(per_hour=36, burst=10)


async def test_what_one_worker_spends_is_missing_in_the_other() -> None:
    told: list[Any] = []
    supervisor = Buckets()
    first, second = SharedBuckets(told.append), SharedBuckets(told.append)
    first.spend("alice", RATE, 4)
    first.spend("alice", RATE, 5)
    first.spend("bob", RATE, 1)
    first.spend("carol", Rate(0, 1), 7)
    assert second.wait("alice", RATE, 2) == 0
    await asyncio.sleep(0.15)
    assert told == [[["alice", 36, 10, 9], ["bob", 36, 10, 1]]]
    second.spent_elsewhere(told[0])
    assert 90 < second.wait("alice", RATE, 2) <= 100
    await asyncio.sleep(0.15)
    assert len(told) == 1
    # A worker that starts later gets it from the supervisor.
    spend_all(supervisor, told[0])
    third = SharedBuckets(told.append)
    third.restore(json.loads(json.dumps(supervisor.export())))
    assert 90 < third.wait("alice", RATE, 2) <= 100
    assert third.wait("bob", RATE, 9) == 0

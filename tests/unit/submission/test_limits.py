# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio

import pytest

from relay_agent.submission import limits
from relay_agent.submission.limits import Sessions, source_of


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_source(address: str, source: str) -> None:
    assert source_of(address) == source


class Fake:
    def __init__(
        self, sessions: Sessions, *, busy: bool = False, idle: float = 0.0, in_transaction: bool = False
    ) -> None:
        self.sessions = sessions
        self.busy = busy
        self.in_transaction = in_transaction
        self.last_activity = asyncio.get_running_loop().time() - idle
        self.timed_out = 0

    def time_out(self) -> None:
        self.timed_out += 1

    def shut_down(self) -> None:
        if not self.busy:
            self.sessions.remove(self, "s")


async def test_silent_sessions_are_ended() -> None:
    sessions = Sessions()
    fresh, silent = Fake(sessions), Fake(sessions, idle=11)
    working, stuck = Fake(sessions, busy=True, idle=11), Fake(sessions, busy=True, idle=21)
    for each in (fresh, silent, working, stuck):
        sessions.add(each, "s")
    assert (len(sessions), sessions.from_source("s"), sessions.from_source("t")) == (4, 4, 0)
    sessions.watch(asyncio.get_running_loop(), lambda: 10.0)
    assert [each.timed_out for each in (fresh, silent, working, stuck)] == [0, 1, 0, 1]
    working.busy = stuck.busy = False
    assert await sessions.close(1.0) == 0
    assert sessions.from_source("s") == 0


async def test_close_waits_for_a_message_and_no_longer_than_its_grace() -> None:
    sessions = Sessions()
    session = Fake(sessions, busy=True)
    sessions.add(session, "s")
    assert await sessions.close(0.15) == 1
    asyncio.get_running_loop().call_later(0.05, setattr, session, "busy", False)
    assert await sessions.close(5.0) == 0


async def test_close_lets_who_is_just_speaking_go_on_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SPARED", 0.6)
    sessions = Sessions()
    speaking, silent = Fake(sessions), Fake(sessions, idle=2)
    for each in (speaking, silent):
        sessions.add(each, "s")
    closing = asyncio.ensure_future(sessions.close(5.0))
    await asyncio.sleep(0.2)
    assert list(sessions._open) == [speaking]
    # However long it goes on speaking, the relay stops.
    for _ in range(30):
        speaking.last_activity = asyncio.get_running_loop().time()
        await asyncio.sleep(0.02)
    assert await asyncio.wait_for(closing, 4.0) == 0


async def test_who_pauses_between_two_messages_is_sent_to_the_new_workers() -> None:
    sessions = Sessions()
    pausing, active = Fake(sessions, idle=60), Fake(sessions)
    working, writing = Fake(sessions, idle=60, busy=True), Fake(sessions, idle=60, in_transaction=True)
    for each in (pausing, active, working, writing):
        sessions.add(each, "s")
        sessions._open[each] -= 60
    await sessions.drain(0.1)
    assert set(sessions._open) == {active, working, writing}


async def test_who_has_just_come_may_take_its_time_until_the_first_message() -> None:
    sessions = Sessions()
    signing_in, settled = Fake(sessions, idle=10), Fake(sessions, idle=10)
    for each, age in ((signing_in, 12), (settled, 30)):
        sessions.add(each, "s")
        sessions._open[each] -= age
    await sessions.drain(0.1)
    assert set(sessions._open) == {signing_in}

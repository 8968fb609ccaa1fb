# SPDX-License-Identifier: GPL-3.0-or-later
"""Without anybody here, all mail goes on."""

from relay_agent.delivery.local import Nobody
from relay_agent.delivery.outcome import Deferred

from .memory_store import make_message


async def test_nobody_is_here() -> None:
    nobody = Nobody()
    assert not nobody.takes("bob@a.test")
    assert isinstance(await nobody.take(make_message("bob@a.test")), Deferred)
    nobody.learn(make_message("bob@a.test"), {}, by_own_host=True)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What one worker spends, guesses or leases, the others are told, and a later program of this process knows."""

from __future__ import annotations

from typing import Any

from relay_agent.config.schema import Policy
from relay_agent.supervisor.shared import Shared


class _Channel:
    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def notice(self, name: str, **arguments: Any) -> None:
        self.told.append((name, arguments))


class _Worker:
    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.channel = _Channel()


class _Crew:
    def __init__(self, count: int) -> None:
        self.workers = [_Worker(serial) for serial in range(count)]


def _shared(crew: Any) -> Shared:
    return Shared(crew, Policy)


def test_what_a_worker_spends_the_others_are_told() -> None:
    crew: Any = _Crew(3)
    shared = _shared(crew)
    spent = [["account alice", 100.0, 10.0, 4]]
    shared.commands(crew.workers[1])["spent"]({"spent": spent})
    told = [each.channel.told for each in crew.workers]
    assert told == [[("spent", {"spent": spent})], [], [("spent", {"spent": spent})]]


def test_a_later_program_and_a_later_worker_know_what_was_spent() -> None:
    crew: Any = _Crew(1)
    shared = _shared(crew)
    shared.commands(crew.workers[0])["spent"]({"spent": [["account alice", 100.0, 10.0, 4]]})
    state = shared.export()
    later = _shared(crew)
    later.restore(state)
    assert [each[0] for each in later.for_worker()["buckets"]] == [each[0] for each in shared.for_worker()["buckets"]]
    assert later.for_worker()["buckets"]
    del state["guesses"]  # as a release before they were shared
    _shared(crew).restore(state)

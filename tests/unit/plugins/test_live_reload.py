# SPDX-License-Identifier: GPL-3.0-or-later
"""A reload is followed until the agent itself says how it ended."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.live_reload import (
    ReloadError,
    agent_status,
    follow_reload,
)


def status(done: int, refused: int = 0, *, busy: bool = False, pid: int = 7, problems: Any = ()) -> dict[str, Any]:
    reloads = {"done": done, "refused": refused, "problems": list(problems)}
    return {"running": True, "pid": pid, "reloading": busy, "reloads": reloads}


def follow(before: dict[str, Any] | None, *looks: dict[str, Any] | None, alive: bool = True) -> int:
    """How many looks it took; the last one is seen again and again."""
    seen: list[dict[str, Any] | None] = []
    rest: Iterator[dict[str, Any] | None] = iter(looks)

    def look() -> dict[str, Any] | None:
        seen.append(next(rest, looks[-1]))
        return seen[-1]

    now = iter(range(1000))
    follow_reload(before, look, lambda: alive, within=30.0, sleep=lambda _: None, clock=lambda: float(next(now)))
    return len(seen)


def test_it_is_over_when_the_agent_has_counted_it() -> None:
    assert follow(status(3), status(3), status(3, busy=True), status(4)) == 3


def test_one_that_is_followed_by_another_is_not_over() -> None:
    assert follow(status(3, busy=True), status(4, busy=True), status(5)) == 2


def test_an_agent_that_is_between_two_programs_is_waited_for() -> None:
    assert follow(status(0), None, None, status(1)) == 3


def test_a_refusal_is_told_in_the_agent_s_words() -> None:
    with pytest.raises(ReloadError, match=r"refused the reload: port 25: taken; tls: expired"):
        follow(status(3), status(3, busy=True), status(3, 1, problems=["port 25: taken", "tls: expired"]))


def test_an_agent_that_has_stopped_is_not_waited_for() -> None:
    with pytest.raises(ReloadError, match="stopped during the reload"):
        follow(status(0), None, alive=False)


def test_an_agent_that_died_and_came_back_has_not_reloaded() -> None:
    with pytest.raises(ReloadError, match="ended during the reload"):
        follow(status(0), None, status(0, pid=8))


def test_it_does_not_take_for_ever() -> None:
    with pytest.raises(ReloadError, match="not done after 30 s"):
        follow(status(3), status(3, busy=True))


def test_releases_that_do_not_count_are_given_a_moment() -> None:
    plain = {"running": True, "pid": 7, "reloading": False}
    assert follow(status(3), plain) == 2
    assert follow(plain, status(1)) == 1


def test_what_is_no_status_is_none() -> None:
    assert agent_status(lambda _: (1, '{"running": false}', "")) is None
    assert agent_status(lambda _: (0, "nonsense", "")) is None
    assert agent_status(lambda _: (0, json.dumps({"running": False}), "")) is None
    asked: list[list[str]] = []

    def run(args: list[str]) -> tuple[int, str, str]:
        asked.append(args)
        return 0, json.dumps(status(1)), ""

    assert agent_status(run) == status(1)
    assert asked == [["/opt/postroad/current/bin/relay-agent", "status", "--json"]]

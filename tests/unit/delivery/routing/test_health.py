# SPDX-License-Identifier: GPL-3.0-or-later
"""How hosts in trouble rest and come back."""

from __future__ import annotations

from relay_agent.delivery.outcome import Cause, Deferred
from relay_agent.delivery.route import Security, Target
from relay_agent.delivery.routing.health import FIRST_REST, LONGEST_REST, Health

ONE, TWO, THREE = (Target(f"{name}.test", 587, Security.STARTTLS, upstream=True) for name in ("one", "two", "three"))
CHOICES = [(10, ONE), (10, TWO), (20, THREE)]
THROTTLED = Deferred("4.7.0", "421 4.7.0 slow down", cause=Cause.THROTTLED)


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[str, str, float]] = []
        self.health = Health(self._tell, lambda: self.now)

    def _tell(self, name: str, target: Target, outcome: Deferred | None, seconds: float) -> None:
        self.told.append((name, target.host, seconds))

    def order(self) -> list[str]:
        return [target.host.partition(".")[0] for _, target in self.health.order(CHOICES)]


def test_in_trouble_is_last_and_its_rest_grows() -> None:
    world = World()
    assert world.order() == ["one", "two", "three"]
    waits = []
    for _ in range(12):
        world.health.trouble(ONE, THROTTLED)
        assert world.order() == ["two", "three", "one"]
        rest = world.told[-1][2]
        waits.append(rest)
        world.now += rest
    assert FIRST_REST * 0.9 <= waits[0] <= FIRST_REST * 1.1
    assert 2 * FIRST_REST * 0.9 <= waits[1] <= 2 * FIRST_REST * 1.1
    assert LONGEST_REST * 0.9 <= waits[-1] <= LONGEST_REST * 1.1
    assert {name for name, _, _ in world.told} == {"host_rests"}


def test_one_probe_and_then_it_is_back() -> None:
    world = World()
    world.health.trouble(TWO, THROTTLED)
    world.now += 2 * FIRST_REST
    assert world.order() == ["two", "one", "three"]  # this one probes
    assert world.order() == ["one", "three", "two"]  # and no other
    assert world.health.snapshot([TWO])[0]["state"] == "probed"
    world.health.success(TWO)
    assert world.order() == ["one", "two", "three"]
    assert world.told[-1][:2] == ("host_recovered", "two.test")


def test_a_probe_that_is_never_heard_of_again_is_repeated() -> None:
    world = World()
    world.health.trouble(ONE, THROTTLED)
    world.now += 2 * FIRST_REST
    assert world.order()[0] == "one"
    world.now += 300
    assert world.order()[0] == "one"


def test_nothing_is_probed_while_a_better_host_is_well() -> None:
    world = World()
    world.health.trouble(THREE, THROTTLED)
    world.now += 2 * FIRST_REST
    assert world.order() == ["one", "two", "three"]
    assert world.health.snapshot([THREE])[0]["state"] == "due"


def test_failures_while_it_rests_do_not_lengthen_the_rest() -> None:
    world = World()
    for _ in range(5):
        world.health.trouble(ONE, THROTTLED)
    assert len(world.told) == 1
    assert world.health.snapshot([ONE])[0]["failures"] == 1


def test_what_is_shown() -> None:
    world = World()
    world.health.trouble(ONE, THROTTLED)
    troubled, well = world.health.snapshot([ONE, TWO])
    assert (troubled["name"], troubled["state"], troubled["cause"]) == ("one.test:587", "rests", "throttled")
    assert troubled["last_error"] == "421 4.7.0 slow down"
    assert troubled["rests_for"] > 0
    assert well == {"name": "two.test:587", "user": None, "state": "well"}
    world.health.forget()
    assert world.health.is_well(ONE)


def test_memory_is_bounded() -> None:
    world = World()
    for number in range(10_100):
        world.health.trouble(Target(f"mx{number}.test", 25, Security.OPPORTUNISTIC), THROTTLED)
    assert len(world.health._troubled) <= 10_000

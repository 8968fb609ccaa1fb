# SPDX-License-Identifier: GPL-3.0-or-later
"""What has run is numbered, found again by several names, and forgotten in the end."""

from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.generations import GenerationError, Generations


class Relay:
    """A configuration file, and the releases that are installed."""

    def __init__(self, root: Path) -> None:
        self.installed = {"aaaa", "bbbb"}
        self.config = root / "agent.toml"
        self.generations = Generations(root / "generations", lambda release: release in self.installed)

    def applies(self, release: str, text: str) -> int:
        self.config.write_text(text)
        return self.generations.record(release, [self.config], [], 1_700_000_000.0)

    def numbers(self) -> list[int]:
        return [each.number for each in self.generations.all()]


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path)


def test_each_new_state_gets_a_number(relay: Relay) -> None:
    assert relay.generations.current() is None
    assert relay.generations.all() == []
    assert [relay.applies("aaaa", "one"), relay.applies("aaaa", "two"), relay.applies("bbbb", "two")] == [1, 2, 3]
    assert relay.generations.current() == 3
    assert [each.current for each in relay.generations.all()] == [False, False, True]
    assert str(relay.generations.all()[0]) == "1: release aaaa, first used 2023-11-14 22:13:20 UTC"
    assert str(relay.generations.all()[2]).endswith("(in use)")


def test_a_state_that_was_there_before_keeps_its_number(relay: Relay) -> None:
    relay.applies("aaaa", "one")
    relay.applies("aaaa", "two")
    assert relay.applies("aaaa", "one") == 1
    assert relay.numbers() == [2, 1]
    assert relay.applies("aaaa", "three") == 3


def test_the_ways_to_name_one(relay: Relay) -> None:
    relay.applies("aaaa", "one")
    relay.applies("aaaa", "two")
    relay.applies("bbbb", "two")
    choose = relay.generations.choose
    assert choose("previous").number == 2
    assert choose("1").number == 1
    assert choose("aaaa").number == 2
    assert choose("3").current


def test_previous_is_by_use_and_leads_back_again(relay: Relay) -> None:
    relay.applies("aaaa", "one")
    relay.applies("aaaa", "two")
    relay.generations.used(1)
    assert relay.generations.choose("previous").number == 2


@pytest.mark.parametrize("wanted", ["previous", "7", "cccc", "../1", ""])
def test_what_there_is_not_is_told_with_what_there_is(relay: Relay, wanted: str) -> None:
    relay.applies("aaaa", "one")
    with pytest.raises(GenerationError, match=r"there are:\n  1: release aaaa"):
        relay.generations.choose(wanted)


def test_without_its_release_there_is_no_way_back(relay: Relay) -> None:
    relay.applies("aaaa", "one")
    relay.applies("bbbb", "one")
    relay.installed.remove("aaaa")
    assert relay.numbers() == [2]
    with pytest.raises(GenerationError):
        relay.generations.choose("previous")


def test_the_oldest_are_forgotten_and_those_without_their_release(relay: Relay) -> None:
    for text in ("one", "two", "three", "four"):
        relay.applies("aaaa", text)
    relay.applies("bbbb", "five")
    relay.installed.remove("bbbb")
    relay.generations.prune(2)
    assert relay.numbers() == [3, 4]
    assert sorted(path.name for path in relay.generations.snapshot(3).directory.parent.iterdir()) == [
        "3",
        "4",
        "history.json",
    ]


def test_a_damaged_one_is_left_out(relay: Relay) -> None:
    relay.applies("aaaa", "one")
    relay.applies("aaaa", "two")
    (relay.generations.snapshot(1).directory / "manifest.json").write_text("{")
    assert relay.numbers() == [2]
    assert relay.applies("aaaa", "one") == 3

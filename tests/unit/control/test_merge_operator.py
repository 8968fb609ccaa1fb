# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Sequence
from typing import Any

import pytest

from relay_agent.control import merge_operator as module
from relay_agent.control.merge_operator import OTHERS, merged_operator_handlers
from relay_agent.control.protocol import NOT_FOUND, ControlError


class Store:
    """A store that answers with what it was given, one answer a go."""

    def __init__(self, *answers: dict[str, Any] | ControlError) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def call(self, command: str, arguments: dict[str, Any]) -> Any:
        self.asked.append(arguments.get("cursor"))
        answer = self.answers.pop(0)
        if isinstance(answer, ControlError):
            raise answer
        return answer


def group(destination: str, recipients: int, *, reason: str = "busy", oldest: float = 5.0) -> dict[str, Any]:
    return {
        "destination": destination,
        "reason": reason,
        "recipients": recipients,
        "held": 1,
        "oldest": oldest,
        "next_attempt": None if oldest > 5 else 9.0,
    }


async def items(stores: Sequence[Store], command: str, **arguments: Any) -> list[dict[str, Any]]:
    answer = await merged_operator_handlers(lambda: stores)[command](arguments)
    return [item async for item in answer]


async def test_groups_of_all_stores_and_goes_are_one_list() -> None:
    first = Store(
        {"groups": [group("beta.test", 2)], "cursor": [1, 9]},
        {"groups": [group("beta.test", 3, oldest=7.0), group("gamma.test", 1)], "cursor": None},
    )
    second = Store({"groups": [group("gamma.test", 7, oldest=3.0)], "cursor": None}, {"cursor": None})
    found = await items([first, second], "queue.groups")
    assert first.asked == [None, [1, 9]]
    assert [item["progress"]["recipients"] for item in found if "progress" in item] == [2, 6, 13]
    assert [
        (each["group"]["destination"], each["group"]["recipients"], each["group"]["oldest"], each["group"]["held"])
        for each in found
        if "group" in each
    ] == [("gamma.test", 8, 3.0, 2), ("beta.test", 5, 5.0, 2)]


async def test_no_more_groups_are_kept_than_a_person_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_GROUPS", 2)
    store = Store({"groups": [group(f"d{number}.test", 10 - number) for number in range(5)], "cursor": None})
    found = [each["group"] for each in await items([store], "queue.groups") if "group" in each]
    assert [(each["destination"], each["recipients"]) for each in found] == [
        (OTHERS, 21),
        ("d0.test", 10),
        ("d1.test", 9),
    ]


async def test_changes_are_added_up_and_unknown_is_what_no_store_knows() -> None:
    first = Store({"messages": 1, "recipients": 2, "busy": 0, "unknown": ["B", "C"], "cursor": None})
    second = Store({"messages": 1, "recipients": 1, "busy": 1, "unknown": ["A", "C"], "cursor": None})
    found = await items([first, second], "queue.change", action="hold", selection={"ids": ["A", "B", "C"]})
    assert found[-1] == {"done": {"messages": 2, "recipients": 3, "busy": 1, "unknown": ["C"]}}
    (nothing,) = await items([], "queue.change", action="hold", selection={"ids": ["a"]})
    assert nothing["done"]["unknown"] == ["A"]


async def test_matches_stop_at_the_number_wanted() -> None:
    first, second = Store({"items": [{"id": "A"}], "cursor": None}), Store({"items": [{"id": "B"}, {"id": "C"}]})
    found = await items([first, second], "queue.matches", limit=2)
    assert [each for each in found if "progress" not in each] == [{"id": "A"}, {"id": "B"}]


async def test_a_search_tells_how_far_it_is_after_each_go() -> None:
    store = Store(
        {"items": [{"id": "A", "recipients": [1, 2]}], "cursor": [1, 9]},
        {"items": [], "cursor": [2, 9]},
        {"items": [{"id": "B", "recipients": [1]}], "cursor": None},
    )
    found = await items([store], "queue.matches")
    assert [each["progress"]["recipients"] if "progress" in each else each["id"] for each in found] == [
        "A", 2, 2, "B", 3,
    ]  # fmt: skip


async def test_content_is_read_where_it_is() -> None:
    stores = [Store(ControlError(NOT_FOUND, "no")), Store({"content": "", "more": False})]
    handlers = merged_operator_handlers(lambda: stores)
    assert await handlers["queue.read"]({"id": "A"}) == {"content": "", "more": False}
    with pytest.raises(ControlError, match="not in the queue"):
        await merged_operator_handlers(list)["queue.read"]({"id": "A"})


async def test_a_bad_selection_is_refused_before_any_store_is_asked() -> None:
    for command in ("queue.groups", "queue.change", "queue.matches"):
        with pytest.raises(ControlError, match="selection"):
            await merged_operator_handlers(list)[command]({"selection": 7})

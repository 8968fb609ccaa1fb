# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on the list, over a book on the disk."""

from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.control.protocol import ControlError
from relay_agent.control.server import Handler
from relay_agent.control.suppression_view import suppression_handlers
from relay_agent.suppression.book import Book

ADD = {"address": "bob@beta.test", "account": "", "reason": "by phone"}


@pytest.fixture
def handlers(tmp_path: Path) -> dict[str, Handler]:
    config = Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"port": 2525, "tls": "none", "auth": "none"}],
            "queue": {"directory": str(tmp_path)},
        }
    )
    return suppression_handlers(Book(config))


async def listed(handlers: dict[str, Handler], **arguments: Any) -> list[str]:
    return [each["address"] async for each in await handlers["suppression.list"](arguments)]


async def test_the_list_by_number_and_cause(handlers: dict[str, Handler]) -> None:
    for name in ("a", "b", "c"):
        await handlers["suppression.add"](ADD | {"address": f"{name}@beta.test"})
    report = {"recipients": ["d@beta.test"], "owner": "", "reason": "abuse", "sender": ""}
    result = await handlers["suppression.report"](report)
    assert [each["address"] for each in result["entries"]] == ["d@beta.test"]
    assert await listed(handlers) == ["a@beta.test", "b@beta.test", "c@beta.test", "d@beta.test"]
    assert await listed(handlers, limit=2) == ["c@beta.test", "d@beta.test"]
    assert await listed(handlers, cause="complaint") == ["d@beta.test"]
    (shown,) = await handlers["suppression.show"]({"address": "D@beta.test"})
    assert shown["cause"] == "complaint"


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("list", {"limit": -1}, "limit: expected a number"),
        ("list", {"limit": True}, "limit: expected a number"),
        ("show", {"address": "x@beta.test"}, "x@beta.test is not on the suppression list"),
        ("show", {}, "address: expected text"),
        ("remove", {"address": "x@beta.test"}, "is not on the suppression list"),
        ("add", ADD | {"address": "bob"}, "bob is not a mail address"),
        ("add", ADD | {"reason": 7}, "reason: expected text"),
        ("report", {"recipients": "bob@beta.test"}, "recipients: expected a list"),
    ],
)
async def test_bad_requests_are_told(
    handlers: dict[str, Handler], command: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ControlError, match=words):
        await handlers[f"suppression.{command}"](arguments)


async def test_a_disk_that_refuses_is_told(handlers: dict[str, Handler], tmp_path: Path) -> None:
    (tmp_path / "suppression.jsonl").mkdir()
    with pytest.raises(ControlError, match=r"suppression\.jsonl: Is a directory"):
        await handlers["suppression.add"](ADD)

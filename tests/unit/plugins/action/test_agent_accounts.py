# SPDX-License-Identifier: GPL-3.0-or-later
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.action.agent_accounts import summary


def result(
    added: tuple[str, ...] = (), updated: tuple[str, ...] = (), removed: tuple[str, ...] = (), agent: str = "reloaded"
) -> dict[str, Any]:
    return {"added": added, "updated": updated, "removed": removed, "total": 3, "agent": agent}


@pytest.mark.parametrize(
    ("found", "check_mode", "text"),
    [
        (result(), False, "nothing to change, 3 accounts as before"),
        (result(), True, "nothing to change, 3 accounts as before"),
        (result(("a", "b"), ("c",), ("d",)), False, "added a, b; changed c; removed d; 0 as before"),
        (result(removed=("d",)), True, "would be removed d; 3 as before"),
        (result(("a",), agent="not running"), False, "added a; 2 as before (the agent is not running)"),
    ],
)
def test_a_line_says_what_changed(found: dict[str, Any], check_mode: bool, text: str) -> None:
    assert summary(found, check_mode=check_mode) == text

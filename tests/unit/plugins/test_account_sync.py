# SPDX-License-Identifier: GPL-3.0-or-later
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.account_sync import (
    AccountSyncError,
    Synced,
    planned_names,
    sync_accounts,
)

WANTED = [{"name": "alice", "password": "s3cret"}]
ANSWER = {"changed": True, "added": ["alice"], "updated": [], "removed": ["bob"], "agent": "reloaded"}


class Command:
    """The agent's command: what it was given, and what it says."""

    def __init__(self, status: int = 0, output: str = json.dumps(ANSWER), errors: str = "") -> None:
        self.answer = (status, output, errors)
        self.args: list[str] = []
        self.data: str | None = None

    def __call__(self, args: list[str], data: str | None = None) -> tuple[int, str, str]:
        self.args, self.data = args, data
        return self.answer


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_list_goes_by_standard_input(check_mode: bool) -> None:
    command = Command()
    synced = sync_accounts(command, "/bin/agent", Path("/etc/a.toml"), WANTED, check_mode=check_mode)
    assert command.args[:6] == ["/bin/agent", "account", "sync", "--json", "--file", "/etc/a.toml"]
    assert ("--check" in command.args) is check_mode
    assert json.loads(command.data or "") == WANTED
    assert "s3cret" not in " ".join(command.args)
    assert (synced.changed, synced.added, synced.removed) == (True, ["alice"], ["bob"])


def test_what_is_shown_is_names() -> None:
    assert Synced(True, ["alice"], ["carol"], ["bob"]).lines == "alice added\ncarol updated\nbob removed\n"
    assert Synced(True).lines == "an empty list\n"


@pytest.mark.parametrize(
    ("agent", "refused"), [(None, ""), ("reloaded", ""), ("not running", ""), ("no answer", "no answer")]
)
def test_an_agent_that_goes_on_with_the_old_accounts_is_told_of(agent: str | None, refused: str) -> None:
    assert Synced(True, agent=agent).refused == refused


def test_a_refusal_is_passed_on() -> None:
    with pytest.raises(AccountSyncError, match=r"could not be set: account\[0\]: name is missing"):
        sync_accounts(Command(1, "", "account[0]: name is missing\n"), "a", Path("f"), WANTED, check_mode=False)


def test_names_are_planned_as_the_agent_keeps_them() -> None:
    wanted: list[dict[str, Any]] = [{"name": "Zoe\u0308"}, {"name": "Alice@Example.org"}]
    assert planned_names(wanted) == ["alice@example.org", "zo\u00eb"]

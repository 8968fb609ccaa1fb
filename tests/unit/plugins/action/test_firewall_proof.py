# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action firewall_table does when new rules let somebody in, or do not: every way that it can end."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.action import firewall_table as action_module
from ansible_collections.postroad.relay.plugins.action.firewall_table import ActionModule

APPLIED = {"changed": True, "pending": True, "connection": "a 1 b 22", "served": [465, 587], "server": "198.51.100.9"}
KEPT: dict[str, Any] = {"changed": True}
GONE = AnsibleConnectionFailure("ssh: connect to host relay port 22: Connection timed out\r\n")


class Clock:
    """Time that only goes by in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Action(ActionModule):
    """The action with a host that answers by a list: results, or errors for a connection that fails."""

    def __init__(self, clock: Clock, answers: list[Any], arguments: Mapping[str, Any]) -> None:
        self.clock = clock
        self.answers = answers
        self.steps: list[str] = []
        self._task = SimpleNamespace(args=dict(arguments), check_mode=False, async_val=0, action="firewall_table")
        self._connection = SimpleNamespace(
            transport="ssh", reset=lambda: self.steps.append("fresh"), get_option=lambda name: "relay.invalid"
        )

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.steps.append(arguments.get("step", "apply"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            self.clock.now += 10  # an SSH client gives up after that
            raise answer
        return dict(answer)


Runs = Callable[..., tuple[dict[str, Any], Action]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs the action; `closed` are the ports that do not open. Returns the result and what was done."""

    def play(answers: list[Any], closed: dict[int, str] | None = None, **arguments: Any) -> tuple[Any, Action]:
        clock = Clock()
        monkeypatch.setattr(action_module, "time", clock)
        asked: list[str] = []

        def ports(address: str, wanted: list[int], *, seconds: float) -> dict[int, str]:
            asked.append(address)
            return closed or {}

        monkeypatch.setattr(action_module, "closed_ports", ports)
        monkeypatch.setattr(ActionBase, "run", lambda *args: {})
        action = Action(clock, answers, arguments)
        result = action.run(None, {"inventory_hostname": "relay1"})
        action.steps.append(f"ports of {','.join(asked)}")
        return result, action

    return play


def test_both_get_in(run: Runs) -> None:
    result, action = run([APPLIED, KEPT])
    assert not result.get("failed")
    assert result["pending"] is False
    # A name that only SSH's configuration knows: the address that the host was reached at.
    assert action.steps == ["apply", "fresh", "confirm", "ports of 198.51.100.9"]


def test_nothing_to_prove(run: Runs) -> None:
    unchanged = {"changed": False, "pending": False}
    result, action = run([unchanged])
    assert result == unchanged
    assert action.steps == ["apply", "ports of "]


def test_one_port_that_opens_is_enough(run: Runs) -> None:
    result, _ = run([APPLIED, KEPT], closed={465: "no answer"})
    assert not result.get("failed")


def test_the_address_can_be_said_and_the_ports_left_out(run: Runs) -> None:
    _, action = run([APPLIED, KEPT], proof={"address": "outside.example.org"})
    assert action.steps[-1] == "ports of outside.example.org"
    for no in (False, "false", "no"):
        result, action = run([APPLIED, KEPT], closed={465: "x", 587: "x"}, proof={"submission": no})
        assert not result.get("failed")
        assert action.steps[-1] == "ports of "
    _, action = run([{**APPLIED, "served": []}, KEPT])
    assert action.steps[-1] == "ports of "


def test_ssh_alone_gets_in(run: Runs) -> None:
    closed = {465: "no answer", 587: "connection refused"}
    result, action = run([APPLIED, {"put_back": True}], closed=closed)
    assert action.steps[:3] == ["apply", "fresh", "restore"]
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"] == (
        "relay1: under the new firewall rules this could not be reached: the submission ports at 198.51.100.9: "
        "465 (no answer), 587 (connection refused). The old rules were put back at once; nothing was kept"
    )


def test_nobody_gets_in_and_the_host_helps_itself(run: Runs) -> None:
    failures: list[Any] = [GONE] * 4
    result, action = run([APPLIED, *failures, {"put_back": False}], closed={465: "no answer", 587: "no answer"})
    assert action.steps.count("restore") == 5
    assert action.clock.now - 1000 >= 47
    assert "SSH: ssh: connect to host relay port 22: Connection timed out; the submission ports at" in result["msg"]
    assert "The host put the old rules back by itself (47 s later they let SSH in again)" in result["msg"]
    assert (result["failed"], result["changed"]) == (True, False)


def test_mail_programs_alone_get_in(run: Runs) -> None:
    result, action = run([APPLIED, *[GONE] * 4, {"put_back": False}])
    assert action.steps[-2] == "restore"
    assert "submission" not in result["msg"]
    assert "The host put the old rules back" in result["msg"]


def test_a_connection_that_only_the_old_rules_let_in_is_none(run: Runs) -> None:
    late = {"failed": True, "too_late": True, "msg": "the old rules came back before the new ones were confirmed"}
    result, _ = run([APPLIED, GONE, late])
    assert (result["failed"], result["changed"]) == (True, False)
    assert (
        "this could not be reached: SSH: no fresh connection in 45 s. The host put the old rules back" in result["msg"]
    )


def test_a_connection_that_fails_once_is_tried_again(run: Runs) -> None:
    result, action = run([APPLIED, GONE, KEPT])
    assert not result.get("failed")
    assert action.steps[:5] == ["apply", "fresh", "confirm", "fresh", "confirm"]


def test_a_host_that_does_not_come_back_is_said_to_be_so(run: Runs) -> None:
    result, _ = run([APPLIED, GONE])
    assert "cannot be reached after that either: ssh: connect to host relay" in result["msg"]


def test_old_rules_that_do_not_load_are_said_to_be_so(run: Runs) -> None:
    result, _ = run([APPLIED, {"failed": True, "msg": "no copy"}], closed={465: "x", 587: "x"})
    assert result["msg"].endswith("The old rules could not be put back: no copy")


def test_a_short_time_is_kept_to(run: Runs) -> None:
    _, action = run([APPLIED, GONE, {"put_back": False}], proof={"seconds": "12"})
    assert 14 <= action.clock.now - 1000 < 16


def test_what_the_confirmation_says_is_the_failure(run: Runs) -> None:
    result, _ = run([APPLIED, {"failed": True, "msg": "the old rules came back"}])
    assert (result["failed"], result["msg"]) == (True, "relay1: the old rules came back")

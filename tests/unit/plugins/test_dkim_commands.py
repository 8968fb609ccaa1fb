# SPDX-License-Identifier: GPL-3.0-or-later
import json
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.dkim_commands import DkimCommandError, DkimCommands


class Agent:
    """The agent's command: answers by its first argument."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, args: list[str], data: str | None = None) -> tuple[int, str, str]:
        self.asked.append((" ".join(args[2:]), data))
        answer = self.answers[args[2].replace("import", "add")]
        if isinstance(answer, tuple):
            return answer
        return 0, answer if isinstance(answer, str) else json.dumps(answer), ""


def key(selector: str, domain: str = "a.test") -> dict[str, Any]:
    return {"domain": domain, "selector": selector, "name": f"{selector}._domainkey.{domain}"}


def test_keys_of_the_domain_with_their_records() -> None:
    agent = Agent(
        keys=[key("one"), key("two", "b.test")],
        record=[{"name": "one._domainkey.a.test", "value": "v=DKIM1", "zone": "one. IN TXT", "strings": []}],
    )
    (found,) = DkimCommands(agent, "a.test").keys()
    assert (found["selector"], found["value"], found["zone"]) == ("one", "v=DKIM1", "one. IN TXT")


def test_no_keys_are_no_error() -> None:
    assert DkimCommands(Agent(keys=[key("two", "b.test")]), "a.test").keys() == []


def test_records_that_do_not_fit_are_an_answer() -> None:
    agent = Agent(check=(1, json.dumps({"good": False, "keys": [{"selector": "one", "dns": "missing"}]}), ""))
    assert DkimCommands(agent, "a.test").published() == [{"selector": "one", "dns": "missing"}]
    assert agent.asked == [("check a.test --everywhere --json", None)]


def test_a_key_goes_by_standard_input() -> None:
    agent = Agent(export="-----BEGIN", add={"added": True})
    commands = DkimCommands(agent, "a.test")
    commands.add("one", commands.export("one"))
    assert agent.asked == [("export a.test one", None), ("import a.test one --json", "-----BEGIN")]


def test_an_agent_that_did_not_take_it_up_is_told() -> None:
    with pytest.raises(DkimCommandError, match="goes on with the keys that it had: no answer"):
        DkimCommands(Agent(activate={"agent": "no answer"}), "a.test").activate("one")
    agent = Agent(delete={"agent": "not running"})
    DkimCommands(agent, "a.test").delete("one", force=True)
    assert agent.asked == [("delete a.test one --force --json", None)]


@pytest.mark.parametrize("answer", [(1, "", "one is active\n"), (0, "not JSON", "")])
def test_a_refusal_is_passed_on(answer: tuple[int, str, str]) -> None:
    with pytest.raises(DkimCommandError, match=r"one is active|no JSON came back"):
        DkimCommands(Agent(new=answer), "a.test").make("one", "rsa")

# SPDX-License-Identifier: GPL-3.0-or-later
"""How queue_state waits, with a host that says what the test wants; test_host_parcel.py has it in a playbook."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.postroad.relay.plugins.action import queue_state
from ansible_collections.postroad.relay.plugins.modules import queue_state as documentation


class Host:
    """Of its answers the last one stays. Time passes only while somebody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.looks: list[dict[str, Any]] = []
        self.now = 1000.0
        monkeypatch.setattr(queue_state.ActionModule, "_execute_module", lambda plugin, **given: self._answer(**given))
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        monkeypatch.setattr(queue_state, "time", clock)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _answer(self, *, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert module_name == "postroad.relay.queue_state"
        self.looks.append(module_args)
        return dict(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def run(self, *, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        task = SimpleNamespace(args=arguments, check_mode=check_mode, async_val=0, diff=False)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
        plugin = queue_state.ActionModule(task, connection, SimpleNamespace(), None, None, None)
        result: dict[str, Any] = plugin.run(task_vars={"inventory_hostname": "relay1"})
        return result


def has(messages: int, *, held: int = 0, leaving: int = 0) -> dict[str, Any]:
    empty = not messages and not leaving
    words = f"{messages} messages"
    return {
        "messages": messages,
        "recipients": messages,
        "held": held,
        "leaving": leaving,
        "empty": empty,
        "words": words,
    }


def test_it_waits_until_no_mail_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(monkeypatch, has(4), has(4), has(1), has(0))
    told = host.run(until_empty=True, patience=60)
    assert (told["empty"], told["msg"]) == (True, "relay1: no mail is left")
    # What was deferred is tried once; again and again would be no way to treat other people's servers.
    assert host.looks == [{"retry": True}, {"retry": False}, {"retry": False}, {"retry": False}]
    assert host.now == 1006.0
    assert [line.split(":")[1].split()[0] for line in capsys.readouterr().out.splitlines()] == ["4", "1"]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, has(4))
    told = host.run(until_empty="yes", patience="21")
    assert told["msg"] == "relay1 still has 4 messages"
    assert "failed" not in told
    assert 1020.0 < host.now < 1024.0


def test_held_mail_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, has(4, held=4))
    told = host.run(until_empty=True, required=True, patience=3600)
    assert told["failed"]
    assert "`relay-agent queue release`" in told["msg"]
    assert host.now < 1060.0


def test_a_hand_over_that_was_cut_off_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Host(monkeypatch, has(0, leaving=3)).run(required=True)
    assert told["failed"]
    assert "run drain.yml with the same relay_drain_to again" in told["msg"]


def test_check_mode_looks_once_and_has_nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, has(4))
    told = host.run(check_mode=True, until_empty=True, required=True)
    assert (host.looks, host.now) == ([{"retry": False}], 1000.0)
    assert not told.get("failed")
    assert told["msg"] == "relay1 still has 4 messages"


def test_a_host_that_cannot_say_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"failed": True, "msg": "no agent is installed here"}
    host = Host(monkeypatch, has(4), broken)
    assert host.run(until_empty=True) == broken


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"until_emtpy": True}, "until_emtpy"),
        ({"patience": "long"}, "patience"),
        ({"required": "maybe"}, "required"),
        # What the action itself asks for on the host is nothing to ask the action for.
        ({"retry": True}, "retry"),
    ],
)
def test_a_misspelt_option_is_refused(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], words: str) -> None:
    host = Host(monkeypatch, has(0))
    with pytest.raises(AnsibleError, match=words):
        host.run(**arguments)
    assert host.looks == []


def test_the_documentation_has_every_option() -> None:
    options = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    del options["retry"]
    assert {name: {"type": each["type"], "default": each["default"]} for name, each in options.items()} == (
        queue_state.ARGUMENTS
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""The action settings_site where nginx is missing: what is installed, and that its own site does not start."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.action.settings_site import MODULE, ActionModule

_APT = "ansible.builtin.apt"
_SYSTEMD = "ansible.builtin.systemd_service"


class Host:
    """Has no nginx until it is installed; remembers what was asked of it."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = answers

    def __call__(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((name, arguments))
        if name == MODULE and not any(asked == _APT for asked, _ in self.asked):
            return {"failed": True, "msg": "nginx is not on this host", "missing_package": "nginx"}
        return self.answers.get(name.rpartition(".")[2], {"changed": True})


def on_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    action = object.__new__(ActionModule)
    action._warnings = []
    monkeypatch.setattr(action, "_module", host, raising=False)
    return action._on_host({"state": "present"})


def test_it_is_installed_and_nothing_of_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    assert on_host(host, monkeypatch) == {"changed": True}
    assert host.asked[1:3] == [
        (_APT, {"name": "nginx", "policy_rc_d": 101, "update_cache": True, "cache_valid_time": 3600}),
        (_SYSTEMD, {"name": "nginx.service", "enabled": False}),
    ]
    assert host.asked[3] == host.asked[0]


@pytest.mark.parametrize(("module", "said"), [("apt", "could not be installed: no"), ("systemd_service", "start: no")])
def test_what_comes_to_nothing_is_told(monkeypatch: pytest.MonkeyPatch, module: str, said: str) -> None:
    host = Host(**{module: {"failed": True, "msg": "no"}})
    result = on_host(host, monkeypatch)
    assert result["failed"]
    assert said in result["msg"]
    assert host.asked[-1][0] != MODULE

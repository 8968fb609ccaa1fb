# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of dkim_keys on a relay whose keys are kept in a table; check mode shows what the step shows."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.modules.dkim_keys import change


class Relay:
    """Stands for DkimCommands."""

    def __init__(self, **states: str) -> None:
        self.states = states

    def keys(self) -> list[dict[str, Any]]:
        return [
            {"selector": name, "state": state, "algorithm": name.rpartition("_")[2]}
            for name, state in self.states.items()
        ]

    def make(self, selector: str, algorithm: str) -> None:
        kinds = ("rsa", "ed25519") if algorithm == "both" else (algorithm,)
        self.states |= {f"{selector}_{kind}": "pending" for kind in kinds}

    def export(self, selector: str) -> str:
        assert selector in self.states
        return f"key of {selector}"

    def add(self, selector: str, key: str) -> None:
        assert key == f"key of {selector}"
        assert selector not in self.states
        self.states[selector] = "pending"

    def activate(self, selector: str) -> None:
        for name, state in self.states.items():
            if state == "active" and name.rpartition("_")[2] == selector.rpartition("_")[2]:
                self.states[name] = "retired"
        self.states[selector] = "active"

    def delete(self, selector: str, *, force: bool) -> None:
        assert force
        del self.states[selector]


NEW = ["new_rsa", "new_ed25519"]
KEYS = [{"selector": name, "key": f"key of {name}"} for name in NEW]
OLD = {"old_rsa": "active", "old_ed25519": "active"}
SIGNING = dict.fromkeys(NEW, "active")
PENDING = dict.fromkeys(NEW, "pending")
RETIRED = dict.fromkeys(OLD, "retired")


def do(relay: Relay, step: str, *, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    params = {"domain": "a.test", "step": step, "selectors": NEW, "keys": [], "selector": "new", "algorithm": "both"}
    commands: Any = relay
    return change(commands, relay.keys(), params | {"force": True} | given, check_mode=check_mode)


@pytest.mark.parametrize(
    ("step", "before", "after", "given"),
    [
        ("make", OLD, OLD | PENDING, {}),
        ("install", OLD, OLD | PENDING, {"keys": KEYS}),
        ("install", OLD | {"new_rsa": "pending"}, OLD | PENDING, {"keys": KEYS}),
        ("activate", OLD | PENDING, RETIRED | SIGNING, {}),
        ("activate", {"old_rsa": "active"} | PENDING, {"old_rsa": "retired"} | SIGNING, {}),
        ("delete", RETIRED | SIGNING, SIGNING, {"selectors": list(OLD)}),
    ],
)
def test_a_step_shows_and_does_what_check_mode_shows(
    step: str, before: dict[str, str], after: dict[str, str], given: dict[str, Any]
) -> None:
    relay = Relay(**before)
    told = do(relay, step, check_mode=True, **given)
    assert relay.states == before
    done = do(relay, step, **given)
    assert relay.states == after
    assert (told["changed"], told["diff"]) == (done["changed"], done["diff"]) == (True, done["diff"])
    (shown,) = done["diff"]
    assert shown["after"] == "".join(f"{name} {state}\n" for name, state in sorted(after.items()))
    again = do(relay, step, **given)
    assert (again["changed"], again["diff"]) == (False, [])


def test_keys_that_were_made_are_handed_on_and_not_shown() -> None:
    done = do(Relay(**OLD), "make")
    assert done["made"] == KEYS
    assert "key of" not in str(done["diff"])
    assert do(Relay(**PENDING), "make")["made"] == KEYS

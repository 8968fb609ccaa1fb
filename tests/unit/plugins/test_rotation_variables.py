# SPDX-License-Identifier: GPL-3.0-or-later
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.rotation_variables import chosen_values, misspelt


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rotate_dkim_domian", "did you mean rotate_dkim_domain?"),
        ("rotate_ca_stgae", "did you mean rotate_ca_stage?"),
        ("rotat_dkim_domain", "did you mean rotate_dkim_domain?"),
        ("rotate_everything_now_please", "there is no such variable"),
    ],
)
def test_a_misspelt_variable_is_named(name: str, hint: str) -> None:
    (problem,) = misspelt([name, "rotate_dkim_domain", "rotate_ca_stage"])
    assert problem.startswith(f"{name}: ")
    assert hint in problem


def test_other_variables_are_nobodys_business_here() -> None:
    assert misspelt(["relay_agent_dkim", "_rotate_dkim_found", "domain", "logrotate_days", "rotate_ca_wait_days"]) == []


def test_defaults_and_types() -> None:
    chosen, problems = chosen_values(
        "rotate_dkim", {"rotate_dkim_domain": "Bücher.test.", "rotate_dkim_keep_days": "3"}
    )
    assert problems == []
    assert chosen == {
        "domain": "xn--bcher-kva.test",
        "selector": "",
        "algorithm": "both",
        "after_days": 30.0,
        "keep_days": 3.0,
    }


@pytest.mark.parametrize(
    ("playbook", "given", "said"),
    [
        ("rotate_dkim", {}, "rotate_dkim_domain: is missing"),
        ("rotate_dkim", {"rotate_dkim_domain": "a" * 70 + ".test"}, "rotate_dkim_domain: "),
        ("rotate_ca", {"rotate_ca_stage": "swich"}, "rotate_ca_stage: 'swich' is not a choice"),
        ("rotate_ca", {"rotate_ca_wait_days": -1}, "rotate_ca_wait_days: -1 is less than 0"),
        ("rotate_ca", {"rotate_ca_wait_days": "soon"}, "rotate_ca_wait_days: 'soon' is not"),
    ],
)
def test_what_does_not_fit_is_named(playbook: str, given: dict[str, Any], said: str) -> None:
    _, problems = chosen_values(playbook, given)
    assert len(problems) == 1
    assert problems[0].startswith(said)

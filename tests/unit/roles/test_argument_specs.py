# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role says in its argument_specs.yml what its defaults are and what its module takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import agent_options

ROLES = Path(__file__).parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())


def load(role: str, name: str) -> Any:
    return yaml.safe_load((ROLES / role / name).read_text())


def options_of(role: str) -> dict[str, Any]:
    options: dict[str, Any] = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def shape(options: dict[str, Any]) -> dict[str, Any]:
    """Type, choices and nested options of each option: what both descriptions must agree on."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "choices": option.get("choices"),
            "options": shape(option.get("options", {})),
        }
        for name, option in options.items()
    }


def test_the_roles_are_found() -> None:
    assert {"relay_agent", "relay_firewall", "relay_tls"} <= set(NAMES)


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_specification_have_the_same_variables(role: str) -> None:
    assert sorted(load(role, "defaults/main.yml")) == sorted(options_of(role))


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_bears_the_role_s_name(role: str) -> None:
    assert [name for name in options_of(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", NAMES)
def test_stated_defaults_are_the_real_ones(role: str) -> None:
    defaults = load(role, "defaults/main.yml")
    stated = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert stated == {name: defaults[name] for name in stated}


@pytest.mark.parametrize("role", NAMES)
def test_everything_is_described(role: str) -> None:
    def undescribed(options: dict[str, Any], where: str = "") -> list[str]:
        missing = [where + name for name, option in options.items() if not option.get("description")]
        for name, option in options.items():
            missing += undescribed(option.get("options", {}), f"{where}{name}.")
        return missing

    assert undescribed(options_of(role)) == []


def test_the_agent_s_module_takes_what_the_role_takes() -> None:
    role = shape(options_of("relay_agent"))
    del role["relay_agent_service"]  # goes into the unit's template
    assert {name.removeprefix("relay_agent_"): option for name, option in role.items()} == shape(agent_options())


def test_the_role_offers_every_key_of_the_agent_s_configuration() -> None:
    from relay_agent.accounts.limits import AccountLimits
    from relay_agent.config.schema import (
        Delivery,
        Dkim,
        DkimKey,
        History,
        Hop,
        Listener,
        Metrics,
        OAuth,
        Policy,
        Reputation,
        Route,
        Shaping,
        Submission,
        Suppression,
        Tls,
        TlsPolicy,
        TlsReports,
    )

    options = agent_options()
    route = options["routes"]["options"]
    hop = route["via"]["options"]
    assert set(route) == set(Route.model_fields)
    assert set(options["listeners"]["options"]) == set(Listener.model_fields)
    assert set(options["submission"]["options"]) == set(Submission.model_fields)
    # The relay's own certificate comes from the role relay_tls.
    assert set(options["tls"]["options"]) == set(Tls.model_fields) - {"certificate", "key"}
    oauth = options["oauth"]["options"]
    assert {f"{key}_file" if key in ("jwks", "ca") else key for key in oauth} == set(OAuth.model_fields)
    assert set(options["metrics"]["options"]) == set(Metrics.model_fields)
    assert set(options["history"]["options"]) == set(History.model_fields)
    assert set(options["policy"]["options"]) == set(Policy.model_fields)
    assert set(options["accounts"]["options"]["limits"]["options"]) == set(AccountLimits.__dataclass_fields__)
    delivery = options["delivery"]["options"]
    assert {"ca_file" if key == "ca" else key for key in delivery} == set(Delivery.model_fields)
    assert set(options["shaping"]["options"]) == set(Shaping.model_fields)
    assert set(options["tls_policies"]["options"]) == set(TlsPolicy.model_fields)
    assert set(options["tls_reports"]["options"]) == set(TlsReports.model_fields)
    assert set(options["suppression"]["options"]) == set(Suppression.model_fields)
    assert set(options["reputation"]["options"]) == set(Reputation.model_fields)
    dkim = options["dkim"]["options"]
    assert {"key" if name == "keys" else name for name in dkim} == set(Dkim.model_fields)
    assert {"file" if name == "key" else name for name in dkim["keys"]["options"]} == set(DkimKey.model_fields)
    # On the host these are files; the inventory has their content.
    files = {"password", "ca", "client_secret", "refresh_token", "token_ca"}
    assert {f"{key}_file" if key in files else key for key in hop} == set(Hop.model_fields)
    assert delivery["fallback_via"]["options"] == hop

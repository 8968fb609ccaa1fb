# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tls_certificate is documentation: it says what the action plugin of its name takes."""

from collections.abc import Mapping
from typing import Any

import yaml
from ansible_collections.postroad.relay.plugins.action.tls_certificate import ARGUMENTS
from ansible_collections.postroad.relay.plugins.modules import tls_certificate

DOCUMENTED: dict[str, Any] = yaml.safe_load(tls_certificate.DOCUMENTATION)["options"]
KEPT = ("type", "elements", "choices", "default", "required")


def facts(options: Mapping[str, Any], nested: str) -> dict[str, Any]:
    """What of the options a program acts on; `nested` is the key of a dict's own options."""
    return {
        name: {key: option[key] for key in KEPT if key in option}
        | ({"options": facts(option[nested], nested)} if nested in option else {})
        for name, option in options.items()
    }


def test_options_are_those_of_the_action() -> None:
    assert facts(DOCUMENTED, "suboptions") == facts(ARGUMENTS, "options")


def test_examples_are_tasks_with_documented_options() -> None:
    tasks = yaml.safe_load(tls_certificate.EXAMPLES)
    assert len(tasks) == 2
    for task in tasks:
        given = task["postroad.relay.tls_certificate"]
        assert set(given) <= set(DOCUMENTED)
        assert set(given.get("certificate", {})) <= set(DOCUMENTED["certificate"]["suboptions"])


def test_what_it_returns_is_documented() -> None:
    assert set(yaml.safe_load(tls_certificate.RETURN)) == {"certificate", "reason", "reloaded"}

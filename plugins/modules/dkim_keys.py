#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a step of a rotation of signing keys on one relay."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: dkim_keys
short_description: Look at or change the signing keys (DKIM) of a domain on a relay
description:
  - What C(playbooks/rotate_dkim.yml) does on each relay; M(postroad.relay.dkim_rotation) says which step is next.
  - V(make) and what O(keys) has are secret. Use C(no_log) on the task that registers the result of V(make).
options:
  domain:
    description: The signing domain.
    type: str
    required: true
  step:
    description:
      - V(inspect) lists keys, records, and what DNS says of them.
      - V(make) makes pending keys unless there are any, and returns O(selectors) for the other relays.
      - V(install) keeps O(keys), V(activate) lets O(selectors) sign, V(delete) removes them.
    type: str
    choices: [inspect, make, install, activate, delete]
    default: inspect
  selectors:
    description: The keys that the step is about.
    type: list
    elements: str
    default: []
  selector:
    description: For V(make), the selector or what it begins with; see C(relay-agent dkim new).
    type: str
  algorithm:
    description: For V(make), what to make.
    type: str
    choices: [both, rsa, ed25519]
    default: both
  keys:
    description: For V(install), what V(make) returned on another relay.
    type: list
    elements: dict
    default: []
    suboptions:
      selector:
        description: The key's selector.
        type: str
        required: true
      key:
        description: The key's file.
        type: str
        required: true
  force:
    description: For V(delete), also before the agent holds that no mail is on its way that the key has signed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Keys of example.org
  postroad.relay.dkim_keys:
    domain: example.org
  register: _keys
"""

RETURN = r"""
found:
  description: The domain's keys, without what is secret.
  type: list
  elements: dict
  returned: for V(inspect)
published:
  description: What DNS says of each.
  type: list
  elements: dict
  returned: for V(inspect)
made:
  description: The keys' files, as O(keys) takes them. Secret.
  type: list
  elements: dict
  returned: for V(make)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.dkim_commands import DkimCommandError, DkimCommands

ARGUMENTS: dict[str, Any] = {
    "domain": {"type": "str", "required": True},
    "step": {"type": "str", "choices": ["inspect", "make", "install", "activate", "delete"], "default": "inspect"},
    "selectors": {"type": "list", "elements": "str", "default": []},
    "selector": {"type": "str"},
    "algorithm": {"type": "str", "choices": ["both", "rsa", "ed25519"], "default": "both"},
    "keys": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "no_log": False,
        "options": {
            "selector": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
        },
    },
    "force": {"type": "bool", "default": False},
}


def main() -> None:
    """Do one step."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("step", "make", ["selector"])]
    )
    commands = DkimCommands(module.run_command, module.params["domain"])
    try:
        before = commands.keys()
        if module.params["step"] == "inspect":
            result = {"changed": False, "found": before, "published": commands.published() if before else []}
        else:
            result = change(commands, before, module.params, check_mode=module.check_mode)
    except (DkimCommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def change(
    commands: DkimCommands, before: list[dict[str, Any]], params: dict[str, Any], *, check_mode: bool
) -> dict[str, Any]:
    """Do a step that changes keys, or in check mode find out whether there is anything to do."""
    step, wanted = params["step"], params["selectors"]
    states = {key["selector"]: key["state"] for key in before}
    kinds = {key["selector"]: key["algorithm"] for key in before}
    after = dict(states)
    result: dict[str, Any] = {}
    if step in ("make", "install"):
        todo = [selector for selector in wanted if selector not in states]
        after |= dict.fromkeys(todo, "pending")
    elif step == "activate":
        todo = [selector for selector in wanted if states.get(selector) == "pending"]
        replaced = {kinds[selector] for selector in todo}
        for selector, state in states.items():
            if state == "active" and kinds[selector] in replaced and selector not in wanted:
                after[selector] = "retired"
        after |= dict.fromkeys(todo, "active")
    else:
        todo = [selector for selector in wanted if selector in states]
        after = {selector: state for selector, state in states.items() if selector not in todo}
    if not check_mode:
        if step == "make":
            if todo:
                commands.make(params["selector"], params["algorithm"])
            result["made"] = [{"selector": selector, "key": commands.export(selector)} for selector in wanted]
        for key in params["keys"] if step == "install" else []:
            if key["selector"] in todo:
                commands.add(key["selector"], key["key"])
        for selector in todo if step == "activate" else []:
            commands.activate(selector)
        for selector in todo if step == "delete" else []:
            commands.delete(selector, force=params["force"])
    header = f"DKIM keys of {params['domain']}"
    diff = {"before_header": header, "after_header": header, "before": _lines(states), "after": _lines(after)}
    return result | {"changed": bool(todo), "diff": [diff] if todo else []}


def _lines(states: dict[str, str]) -> str:
    return "".join(f"{selector} {state}\n" for selector, state in sorted(states.items()))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host's variables, found on the controller before any host is touched.

Ansible itself validates a role's arguments when it gets to the role, and takes a misspelt variable for one that
nobody reads. Here every variable of every role is judged at once, and then the configuration that they make.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import SettingsError, build_settings

__all__ = [
    "AGENT_ROLE",
    "agent_problems",
    "read_specs",
    "read_playbook_specs",
    "spec_problems",
    "unknown_variables",
]

AGENT_ROLE = "relay_agent"
_FAMILY = "relay_"
_CHECKS = {"ansible.builtin.validate_argument_spec", "postroad.relay.playbook_variables"}
"""Modules by which playbooks check variables of their own."""
_KEYS = {
    "listener": "listeners",
    "route": "routes",
    "shaping": "shaping",
    "tls_policy": "tls_policies",
    "dkim.key": "dkim.keys",
}
_SECTIONS = {
    *("submission", "policy", "oauth", "metrics", "history", "delivery", "dkim", "tls_reports"),
    *("suppression", "reputation"),
}
_KINDS = {
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a table",
    "str": "text (put it in quotes)",
}
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)?[BKMGTPE%]?|infinity")
_FEWEST_OPEN_FILES = 1024
_CONFIG_KEY = re.compile(r"\b(listener|route|shaping|tls_policy|dkim\.key)(?=\[\d)")

Specs = dict[str, dict[str, Any]]
"""For each role its options, as in meta/argument_specs.yml."""


def read_specs(roles: Path) -> Specs:
    """The options of every role below `roles` that has a specification."""
    specs: Specs = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        specs[path.parts[-3]] = document["argument_specs"]["main"].get("options", {})
    return specs


def read_playbook_specs(playbooks: Path) -> Specs:
    """The variables that playbooks check themselves, by their prefix: ``relay_verify``, ``relay_status``.

    Looked for in the playbooks in this directory and in the files of tasks below it.
    """
    specs: Specs = {}
    for path in sorted(playbooks.rglob("*.yml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or ()
        tasks = [task for entry in entries for task in entry.get("tasks", [entry])]
        for task in tasks:
            for check in _CHECKS & set(task):
                options = task[check]["argument_spec"]
                specs.setdefault("_".join(next(iter(options)).split("_")[:2]), {}).update(options)
    return specs


def unknown_variables(names: Iterable[str], specs: Specs) -> Iterator[str]:
    """A problem for every variable that bears the name of one of `specs` and is none of its options, or nearly is."""
    known = sorted(name for options in specs.values() for name in options)
    for name in sorted(set(names) - set(known)):
        if not name.startswith(_FAMILY):
            continue
        owner = next((role for role in specs if name.startswith(role + "_")), None)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75 if owner else 0.9)
        if owner is None and not near:
            continue
        hint = f"did you mean {near[0]}?" if near else f"{owner} has no such variable"
        yield f"{name}: {hint}"


def spec_problems(values: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values converted to their types, defaults filled in, and what does not fit, each with its place.

    Ansible's own validator does the same and does not tell which item of a list it means.
    """
    problems: list[str] = []
    converted = _table("", values, options, problems)
    return converted, problems


def _table(where: str, table: Mapping[str, Any], options: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    for key in table:
        if key not in options:
            near = difflib.get_close_matches(str(key), options, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(options))}"
            problems.append(f"{where}{key}: is not a known key; {hint}")
    converted: dict[str, Any] = {}
    for key, option in options.items():
        value = table.get(key)
        if value is None:
            value = option.get("default")
            if option.get("required"):
                problems.append(f"{where}{key}: is missing ({_text(option['description'])})")
        if value is not None:
            value = _value(f"{where}{key}", value, option, problems)
        converted[key] = value
    return converted


def _value(where: str, value: Any, option: Mapping[str, Any], problems: list[str]) -> Any:
    kind = option.get("type", "str")
    # Ansible makes text of anything: of a list, and of a password that YAML took for true or for a number.
    not_text = (list, dict, bool, int, float) if option.get("no_log") else (list, dict, bool)
    try:
        if kind == "str" and isinstance(value, not_text):
            raise TypeError
        value = DEFAULT_TYPE_VALIDATORS[kind](value)
    except (TypeError, ValueError):
        shown = "(secret)" if _holds_a_secret(option) else repr(value)
        problems.append(f"{where}: {shown} is not {_KINDS.get(kind, kind)}")
        return None
    if "choices" in option and value not in option["choices"]:
        problems.append(f"{where}: {value!r} is not a choice (expected {', '.join(map(str, option['choices']))})")
    if kind == "list" and "elements" in option:
        element = {"type": option["elements"], **({"options": option["options"]} if "options" in option else {})}
        return [_value(f"{where}[{number}]", item, element, problems) for number, item in enumerate(value)]
    if kind == "dict" and "options" in option:
        return _table(f"{where}.", value, option["options"], problems)
    return value


def _holds_a_secret(option: Mapping[str, Any]) -> bool:
    """Whether a value of it may have a password somewhere inside, also one that is in the wrong place."""
    return bool(option.get("no_log")) or any(_holds_a_secret(inner) for inner in option.get("options", {}).values())


def agent_problems(values: Mapping[str, Any], parse: Callable[[str], Iterable[tuple[str, str]]]) -> Iterator[str]:
    """What the agent would find wrong with its configuration, each by the variable that it comes from.

    `values` are the role's variables as `spec_problems` returns them; `parse` judges a configuration's text and
    gives key and problem of each fault.
    """
    prefix = AGENT_ROLE + "_"
    options = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    yield from _account_problems(options["accounts"], prefix)
    yield from _service_problems(options["service"], f"{prefix}service.")
    try:
        found = dict.fromkeys(parse(build_settings(options).toml))
        # What is wrong by itself hides what is wrong between values: look once more without it.
        for section in {key.partition(".")[0] for key, _ in found} & _SECTIONS:
            options[section] = {}
        if any(key.startswith("route") for key, _ in found):
            options["routes"] = []
        if any(key.startswith("tls_policy") for key, _ in found):
            options["tls_policies"] = []
        if any(key.startswith("shaping") for key, _ in found):
            options["shaping"] = []
        found |= dict.fromkeys(parse(build_settings(options).toml))
    except SettingsError as error:
        yield f"{prefix}{error}"
        return
    for key, problem in found:
        told = _CONFIG_KEY.sub(lambda match: prefix + _KEYS[match[1]], problem).replace("password_file", "password")
        yield f"{prefix}{_variable(key)}: {told}" if key else problem


def _account_problems(accounts: list[dict[str, Any]], prefix: str) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, account in enumerate(accounts):
        where = f"{prefix}accounts[{number}]"
        name = account["name"].strip().lower()
        if not name or re.search(r"\s", name):
            yield f"{where}.name: {account['name']!r} is not a name to sign in with"
        if name in seen:
            yield f"{where}.name: {account['name']} is there already as {prefix}accounts[{seen[name]}]"
        seen.setdefault(name, number)
        given = [key for key in ("password", "hash") if account.get(key)]
        if len(given) != 1:
            yield f"{where} ({account['name']}): has {' and '.join(given) or 'no password'} (expected password or hash)"


def _service_problems(limits: Mapping[str, Any], where: str) -> Iterator[str]:
    # systemd warns of a limit that it cannot read, and goes on without one.
    open_files, memory_max = limits["open_files"], limits["memory_max"]
    if open_files is not None and open_files < _FEWEST_OPEN_FILES:
        yield f"{where}open_files: {open_files} is too few (expected {_FEWEST_OPEN_FILES} or more)"
    if memory_max is not None and not _MEMORY.fullmatch(memory_max):
        yield f"{where}memory_max: {memory_max!r} is not an amount of memory (expected one such as 512M, 1G or 50%)"


def _variable(key: str) -> str:
    return _CONFIG_KEY.sub(lambda match: _KEYS[match[1]], key, count=1)


def _text(description: str | list[str]) -> str:
    text = description if isinstance(description, str) else description[0]
    return re.sub(r"\b[A-Z]\(([^)]*)\)", r"\1", text).rstrip(".")

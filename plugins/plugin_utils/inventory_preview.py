# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory would put on its hosts, and what is wrong between hosts; worked out without any of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.agent_reading import comparable_settings, settings_digest
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import SettingsError, build_settings
from ansible_collections.postroad.relay.plugins.module_utils.toml_text import dump_toml
from ansible_collections.postroad.relay.plugins.plugin_utils.status.difference import different_values

__all__ = [
    "HostPreview",
    "Problem",
    "between_hosts",
    "host_files",
    "render",
    "route_problems",
    "same_settings",
    "write_files",
]

MASKED = "(secret)"
SEALED = "(vault:"
"""How a text begins that stands for one in a vault that is not open."""
_SECRET = ("password", "hash", "scram")


@dataclass(frozen=True)
class Problem:
    """Something to be mended. variable: where, with keys and places; text: what is wrong and what to do."""

    host: str
    variable: str
    text: str

    @classmethod
    def told(cls, host: str, sentence: str) -> Problem:
        """From a sentence that begins with the variable, as the preflight makes them."""
        variable, colon, text = sentence.partition(": ")
        return cls(host, variable, text) if colon else cls(host, "", sentence)


@dataclass
class HostPreview:
    """A host. files: what would be on it, by name below /etc/postroad, secrets masked; notes: what is no fault."""

    host: str
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    hostname: str = ""
    siblings: str = "relays"


def host_files(values: Mapping[str, Any]) -> dict[str, str]:
    """The files that the role relay_agent would write for its variables `values`, without what is secret.

    {} for variables that make no configuration; the preflight says why.
    """
    prefix = "relay_agent_"
    options = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    try:
        settings = build_settings(options)
    except (SettingsError, KeyError, TypeError, AttributeError, ValueError):
        return {}
    files = {"agent.toml": settings.toml}
    if settings.accounts:
        files["accounts.toml"] = dump_toml({"account": [_account(each) for each in settings.accounts]})
    return files | {f"secrets/{name}": f"{MASKED}\n" for name in sorted(settings.secrets)}


def _account(account: Mapping[str, Any]) -> dict[str, Any]:
    return {key: MASKED if key in _SECRET else value for key, value in account.items()}


def route_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Routes that lead back to the relay itself, by their variable."""
    own = str(values.get("relay_agent_hostname", "")).lower()
    hops = [
        (f"relay_agent_routes[{number}].via[{place}]", hop)
        for number, route in enumerate(values.get("relay_agent_routes") or ())
        for place, hop in enumerate((route or {}).get("via") or ())
    ]
    fallback = (values.get("relay_agent_delivery") or {}).get("fallback_via") or ()
    hops += [(f"relay_agent_delivery.fallback_via[{place}]", hop) for place, hop in enumerate(fallback)]
    for where, hop in hops:
        if own and str((hop or {}).get("host", "")).lower() == own:
            yield f"{where}.host: {own} is the relay itself, and mail would go round (name the next server)"


def between_hosts(hosts: Sequence[HostPreview]) -> Iterator[Problem]:
    """What is wrong only beside another host."""
    seen: dict[str, str] = {}
    for preview in hosts:
        name = preview.hostname.lower()
        if SEALED in name:
            continue
        if name and name in seen:
            text = f"{name} is the name of {seen[name]} already (each relay needs its own, with its own certificate)"
            yield Problem(preview.host, "relay_agent_hostname", text)
        elif name:
            seen[name] = preview.host


def same_settings(hosts: Sequence[HostPreview]) -> None:
    """Note at each host in which settings it would differ from its siblings: a traveller finds them unlike."""
    for group in dict.fromkeys(preview.siblings for preview in hosts):
        members = [each for each in hosts if each.siblings == group and each.files.get("agent.toml")]
        tables = {each.host: comparable_settings(tomllib.loads(each.files["agent.toml"])) for each in members}
        keys = dict.fromkeys(key for table in tables.values() for key in table)
        values = {key: {host: table.get(key) for host, table in tables.items()} for key in keys}
        for finding in different_values("settings", values):
            member = next(each for each in members if each.host == finding.host)
            member.notes.append(f"unlike its siblings: {finding.text}")
        for each in members:
            each.notes.insert(0, f"settings {settings_digest(tables[each.host])}")


def write_files(directory: Path, hosts: Sequence[HostPreview]) -> list[Path]:
    """Write every file of every host below `directory`/HOST; return their paths."""
    written = []
    for preview in hosts:
        for name, content in preview.files.items():
            path = directory / preview.host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            written.append(path)
    return written


def render(hosts: Sequence[HostPreview], problems: Sequence[Problem], *, show_files: bool) -> str:
    """The report for people, problems last."""
    lines: list[str] = []
    for preview in hosts:
        lines.append(f"{preview.host}: {'; '.join(preview.notes[:1]) or 'no configuration can be made'}")
        lines += [f"  note: {note}" for note in preview.notes[1:]]
        if show_files:
            for name, content in preview.files.items():
                lines += [f"  /etc/postroad/{name}:", *(f"    {line}".rstrip() for line in content.splitlines())]
    if problems:
        lines += ["", f"{len(problems)} to be mended in the inventory:"]
        lines += [f"  {each.host}: {each.variable + ': ' if each.variable else ''}{each.text}" for each in problems]
    else:
        many = f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}"
        lines += ["", f"The inventory is good: {many}."]
    return "\n".join(lines)

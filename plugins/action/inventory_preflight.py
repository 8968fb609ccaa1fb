# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of inventory_preflight: judges a host's variables without a connection to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.preflight import certificate_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.firewall_preflight import firewall_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_check import (
    AGENT_ROLE,
    agent_problems,
    read_playbook_specs,
    read_specs,
    spec_problems,
    unknown_variables,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.preflight import (
    are_listeners,
    settings_problems,
)

ROOT = Path(__file__).resolve().parents[2]
FIREWALL_ROLE = "relay_firewall"
TLS_ROLE = "relay_tls"
SETTINGS_ROLE = "relay_settings"


class ActionModule(ActionBase):
    """Every problem of the host at once; any_errors_fatal of the play gathers those of all hosts."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        problems = self.judge(variables)
        if not problems:
            return {"changed": False, "msg": "the inventory is good"}
        host = variables.get("inventory_hostname", "?")
        lines = "".join(f"\n  {host}: {problem}" for problem in problems)
        return {"failed": True, "msg": f"nothing was touched; to be mended in the inventory:{lines}"}

    def judge(self, variables: Mapping[str, Any]) -> list[str]:
        """Every problem of a host with these variables, each beginning with the variable that it is in.

        `values` has the roles' variables afterwards, as far as they could be worked out.
        """
        self.values: dict[str, Any] = {}
        specs = read_specs(ROOT / "roles")
        known = specs | read_playbook_specs(ROOT / "playbooks")
        problems = list(unknown_variables(variables, known))
        # A default that cannot be worked out is the fault of a variable that it is made of.
        consequences: list[str] = []
        defaults = self._defaults(specs)
        templar = self._templar.copy_with_new_env(available_variables=defaults | dict(variables))
        for role, options in specs.items():
            values: dict[str, Any] = {}
            for name in set(options) & (set(defaults) | set(variables)):
                try:
                    values[name] = templar.template(variables.get(name, defaults.get(name)))
                except AnsibleError as error:
                    (problems if name in variables else consequences).append(f"{name}: {error.message}")
            converted, faults = spec_problems(values, options)
            self.values |= converted
            problems += faults or self._role_problems(role, converted, templar)
        return problems or consequences

    def _role_problems(self, role: str, values: dict[str, Any], templar: Any) -> list[str]:
        """What a role's variables, each fine by itself, would come to."""
        if role == AGENT_ROLE:
            return list(agent_problems(values, parse_agent_config))
        if role == FIREWALL_ROLE:
            return list(firewall_problems(values))
        if role == TLS_ROLE:
            hostname = templar.template(templar.available_variables[f"{AGENT_ROLE}_hostname"])
            listeners = templar.template(templar.available_variables[f"{AGENT_ROLE}_listeners"])
            # What is wrong with a listener itself is told with the agent's variables.
            # The web server of the settings answers challenges at the ports that it shares.
            service, state = (
                templar.template(templar.available_variables[f"{SETTINGS_ROLE}_{name}"])
                for name in ("service", "state")
            )
            settings = service and state != "absent"
            ports = {
                int(each["port"])
                for each in (listeners if isinstance(listeners, list) else ())
                if isinstance(each, dict) and str(each.get("port")).isdecimal() and not (settings and each.get("web"))
            }
            wanted = values["relay_tls_certificate"]
            return list(certificate_problems(wanted, hostname, self._controller_file, ports))
        if role == SETTINGS_ROLE:
            return self._settings_problems(values, templar)
        return []

    @staticmethod
    def _settings_problems(values: dict[str, Any], templar: Any) -> list[str]:
        agent, certificate = (
            {name: templar.template(templar.available_variables[name]) for name in names}
            for names in ((f"{AGENT_ROLE}_hostname", f"{AGENT_ROLE}_listeners"), (f"{TLS_ROLE}_certificate",))
        )
        hostname, listeners = agent.values()
        # What is wrong with any of these itself is told with the variables of its role.
        given = certificate["relay_tls_certificate"]
        if not are_listeners(listeners) or not isinstance(given, dict):
            return []
        if values["relay_settings_state"] == "absent":
            return []
        wanted = values["relay_settings_service"]
        provided = given.get("mode") == "provided" and not given.get("names")
        names = () if provided else given.get("names") or [hostname]
        return list(settings_problems(wanted, listeners, hostname, names, hsts=values["relay_settings_hsts"]))

    def _controller_file(self, name: str) -> str:
        """The text of an operator's file, found as the role finds it, and out of its vault if it is in one."""
        try:
            path = self._loader.get_real_file(self._find_needle("files", name))
            return Path(path).read_text(encoding="ascii")
        except UnicodeDecodeError as error:
            raise CertificateError(f"{name} on the controller is not in PEM form") from error
        except (AnsibleError, OSError):
            raise CertificateError(f"{name} does not exist on the controller") from None

    def _defaults(self, specs: Mapping[str, Any]) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        for role in specs:
            path = ROOT / "roles" / role / "defaults" / "main.yml"
            if path.exists():
                defaults |= self._load(str(path)) or {}
        return defaults

    def _load(self, path: str) -> Any:
        try:
            return self._loader.load_from_file(path, trusted_as_template=True)
        except TypeError:  # ansible-core 2.18 takes every file for trusted and has no such option
            return self._loader.load_from_file(path)


def parse_agent_config(text: str) -> list[tuple[str, str]]:
    """Key and problem of each fault that the agent itself finds in a configuration."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    try:
        from relay_agent.config.load import ConfigError, parse_config
    except ImportError as error:
        text = f"the agent's own check cannot run in {sys.executable}: {error}; `make venv` makes what it needs"
        return [("", text)]
    try:
        parse_config(text, "agent.toml")
    except ConfigError as error:
        return [(problem.key, problem.problem) for problem in error.problems]
    return []


# Ansible loads this module once and forks a process for each host: what is imported before, no host imports again.
parse_agent_config("")

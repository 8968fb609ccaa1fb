# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of settings_site: makes everything that is served, and has the host serve it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.autodiscover import autodiscover_answers
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.documents import site_files
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.preflight import settings_problems
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.profile import profile
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.server import server_configuration, web_addresses
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.service import mail_service
from cryptography.hazmat.primitives.serialization import Encoding

MODULE = "postroad.relay.settings_host"
UNITS = Path(__file__).resolve().parents[2] / "roles" / "relay_settings" / "files"
NOT_MADE_YET = "the authority is made in the run; here another one stands for it in ca.pem, and in what names it"
ARGUMENTS: dict[str, Any] = {
    "service": {
        "type": "dict",
        "default": {},
        "options": {
            "name": {"type": "str"},
            "title": {"type": "str"},
            "domains": {"type": "list", "elements": "str"},
            "incoming": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "kind": {"type": "str", "choices": ["imap", "pop3"], "default": "imap"},
                    "host": {"type": "str", "required": True},
                    "port": {"type": "int"},
                    "security": {"type": "str", "choices": ["implicit", "starttls"], "default": "implicit"},
                    "username": {"type": "str", "choices": ["address", "localpart"], "default": "address"},
                },
            },
            "support": {"type": "str"},
        },
    },
    "hsts": {"type": "int", "default": 0},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "hostname": {"type": "str", "required": True},
    "listeners": {"type": "list", "elements": "dict", "required": True},
    "certificate": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """One round trip."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._warnings: list[str] = []
        _, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if arguments["state"] == "absent":
            return self._on_host({"state": "absent"})
        service, listeners, hostname = arguments["service"], arguments["listeners"], arguments["hostname"]
        if all(value is None for value in service.values()):
            return {"changed": False}
        # Without the preflight of site.yml, a task of somebody's own is judged here.
        problems = list(settings_problems(service, listeners, hostname, (), hsts=arguments["hsts"]))
        if problems:
            return {"failed": True, "msg": "; ".join(problems)}
        try:
            authority = self._authority(arguments["certificate"])
        except OSError as error:
            return {"failed": True, "msg": f"the authority that people are to trust cannot be read: {error}"}
        offered = mail_service(service, listeners, hostname, authority)
        try:
            pages = site_files(offered, listeners)
        except (CertificateError, ValueError) as error:
            return {"failed": True, "msg": f"relay_settings_service: {error}"}
        signed = profile(offered)
        return self._on_host(
            {
                "configuration": server_configuration(offered, listeners, hsts=arguments["hsts"]),
                "pages": pages,
                "answers": {name: content.decode() for name, content in autodiscover_answers(offered).items()},
                "profile": signed.decode() if signed is not None else None,
                "units": {path.name: path.read_text(encoding="utf-8") for path in sorted(UNITS.iterdir())},
                "address": web_addresses(listeners)[0],
            }
        )

    def _authority(self, certificate: Mapping[str, Any]) -> str:
        """What devices have to be told of: the fleet's own authority, in PEM; "" for others."""
        if (certificate.get("mode") or "private_ca") != "private_ca":
            return ""
        named = certificate.get("ca_directory")
        directory = Path(named).expanduser() if named else Path(self._vars.get("inventory_dir") or ".") / "private_ca"
        try:
            return (directory / "ca.pem").read_text(encoding="ascii")
        except FileNotFoundError:
            if not self._task.check_mode:
                raise
        self._warnings.append(NOT_MADE_YET)
        made = PrivateCa.make(certificate.get("ca_domains") or [], datetime.now(UTC))
        return made.certificate.public_bytes(Encoding.PEM).decode("ascii")

    def _on_host(self, arguments: dict[str, Any]) -> dict[str, Any]:
        result = self._module(MODULE, arguments)
        if result.get("missing_package"):
            # Debian starts what it installs, here on port 80, which may be the agent's.
            wanted = {
                "name": result["missing_package"],
                "policy_rc_d": 101,
                "update_cache": True,
                "cache_valid_time": 3600,
            }
            installed = self._module("ansible.builtin.apt", wanted)
            if installed.get("failed"):
                text = f"nginx is not on this host, and its package could not be installed: {installed.get('msg')}"
                return {"failed": True, "msg": text}
            disabled = self._module("ansible.builtin.systemd_service", {"name": "nginx.service", "enabled": False})
            if disabled.get("failed"):
                text = f"nginx was installed, and its own site could not be kept from its start: {disabled.get('msg')}"
                return {"failed": True, "msg": text}
            result = self._module(MODULE, arguments)
        return result | ({"warnings": self._warnings} if self._warnings else {})

    def _module(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=self._vars)
        return result

# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ca_rotation: a stage on the way from one private authority to the next, on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.ca_rotation import CaRotation
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError

ARGUMENTS: dict[str, Any] = {
    "stage": {"type": "str", "required": True, "choices": ["status", "prepare", "switch", "finish", "cancel"]},
    "wait_days": {"type": "float", "default": 14},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "relays": {"type": "list", "elements": "str", "required": True},
}


class ActionModule(ActionBase):
    """Once for all relays, which must share the authority."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/ca_rotation.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        left_out = sorted(set(options["relays"]) - set(options["hosts"]))
        if left_out and options["stage"] != "status":
            text = (
                f"{', '.join(left_out)} cannot be reached or is left out by --limit: an authority is changed for all "
                "relays"
            )
            return result | {"failed": True, "msg": text}
        try:
            directory, domains = self._authority((task_vars or {})["hostvars"], options["hosts"])
            rotation = CaRotation(directory, read_key=self._read, check_mode=self._task.check_mode)
            done = rotation.run(options["stage"], domains=domains, wait=timedelta(days=options["wait_days"]))
        except CertificateError as error:
            return result | {"failed": True, "msg": str(error)}
        Display().display(f"\n{done.text}\n")
        header = {"before_header": str(directory / "ca.pem"), "after_header": str(directory / "ca.pem")}
        diff = [header | {"before": done.before, "after": done.after}] if done.changed else []
        return result | {"changed": done.changed, "text": done.text, "diff": diff}

    def _authority(self, hostvars: Mapping[str, Any], hosts: list[str]) -> tuple[Path, list[str]]:
        """The directory of the relays' authority, and what a new one is bound to. Raises CertificateError."""
        directories: dict[Path, str] = {}
        domains: list[str] = []
        for host in hosts:
            wanted = hostvars[host].get("relay_tls_certificate") or {}
            if wanted.get("mode", "private_ca") != "private_ca":
                raise CertificateError(f"{host} has no certificate of a private authority (relay_tls_certificate.mode)")
            given, inventory = wanted.get("ca_directory"), hostvars[host].get("inventory_dir")
            if not given and not inventory:
                raise CertificateError(
                    "relay_tls_certificate.ca_directory is needed: the inventory is not in a directory"
                )
            directories.setdefault(Path(given).expanduser() if given else Path(inventory) / "private_ca", host)
            domains = domains or list(wanted.get("ca_domains") or [])
        if len(directories) > 1:
            named = ", ".join(f"{path} ({host})" for path, host in directories.items())
            raise CertificateError(f"the relays have several authorities, {named}: run it for each, with --limit")
        return next(iter(directories)), domains

    def _read(self, path: Path) -> bytes:
        """The content of a file, taken out of its vault if it is in one."""
        return Path(self._loader.get_real_file(str(path))).read_bytes()

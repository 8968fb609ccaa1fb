# SPDX-License-Identifier: GPL-3.0-or-later
"""What renews a certificate on its host: settings for `relay-agent certificate renew`, a timer, and its first run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.managed_files import ManagedFile
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner
from ansible_collections.postroad.relay.plugins.module_utils.toml_text import dump_toml

__all__ = ["SERVICE", "TIMER", "RenewalError", "RenewalSetup", "Renewed", "settings_text"]

SERVICE = "relay-certificate.service"
TIMER = "relay-certificate.timer"
_HEADER = "# Written by Ansible (role relay_tls): what is changed here, the next run changes back.\n\n"


class RenewalError(Exception):
    """The renewal could not be set up; the text says why."""


@dataclass(frozen=True)
class Renewed:
    """What `relay-agent certificate renew` says; see `relay_agent.certificates.renewal.Outcome`."""

    changed: bool
    reason: str
    usable: bool
    problems: tuple[str, ...]
    unproved: str = ""


def settings_text(settings: Mapping[str, Any], key_secret: str | None, authority: Path | None) -> str:
    """The content of certificate.toml. settings: as of the module; authority: the file with its CA, if there is one."""
    acme = {key: value for key, value in settings["acme"].items() if value is not None}
    if authority is not None:
        acme["ca_file"] = str(authority)
    document: dict[str, Any] = {key: settings[key] for key in ("names", "directory", "renew_before", "tlsa")}
    document["acme"] = acme
    if settings.get("dns"):
        server = {key: value for key, value in settings["dns"].items() if value is not None}
        document["dns"] = server | {"key_secret": key_secret or ""}
    return _HEADER + dump_toml(document)


class RenewalSetup:
    """The files and the timer. etc: usually /etc/postroad; units: usually /etc/systemd/system."""

    def __init__(self, run_command: CommandRunner, etc: Path, units: Path) -> None:
        self._run_command = run_command
        self._etc = etc
        self._units = units
        self.authority = etc / "certificate-authority.pem"

    def files(self, text: str, authority: str | None, units: Mapping[str, str]) -> list[ManagedFile]:
        """What has to be there. text: of `settings_text`, with a secret in it."""
        files = [ManagedFile(self._etc / "certificate.toml", text, mode=0o600, secret=True)]
        if authority is not None:
            files.append(ManagedFile(self.authority, authority))
        return files + [ManagedFile(self._units / name, content) for name, content in units.items()]

    def timer_runs(self) -> bool:
        """Whether the timer is enabled and waits."""
        return all(
            self._run_command(["systemctl", what, "--quiet", TIMER])[0] == 0 for what in ("is-enabled", "is-active")
        )

    def start_timer(self, *, units_changed: bool) -> None:
        """Enable and start it; units_changed: have systemd read its files first. Raises RenewalError."""
        if units_changed:
            self._systemctl("daemon-reload")
        self._systemctl("enable", "--quiet", TIMER)
        self._systemctl("restart" if units_changed else "start", TIMER)

    def remove(self, *, check_mode: bool) -> bool:
        """Take timer and settings away; whether there was any of it (and would be taken away)."""
        paths = [self._etc / "certificate.toml", self.authority, self._units / SERVICE, self._units / TIMER]
        there = [path for path in paths if path.exists()]
        if not there or check_mode:
            return bool(there)
        if self._units / TIMER in there:
            self._systemctl("disable", "--now", "--quiet", TIMER)
        for path in there:
            path.unlink()
        # How its renewals went is no news of a certificate that comes from elsewhere.
        (self._etc / "tls" / "renewal.json").unlink(missing_ok=True)
        shutil.rmtree(self._etc / "tls" / "issued", ignore_errors=True)
        self._systemctl("daemon-reload")
        return True

    def renew(self, program: Path) -> Renewed:
        """Have the agent's release do what is due now. Raises RenewalError when it cannot say how that went."""
        settings = self._etc / "certificate.toml"
        command = [str(program), "certificate", "renew", "--json", "--settings", str(settings)]
        status, output, errors = self._run_command([*command, "--config", str(self._etc / "agent.toml")])
        try:
            told = json.loads(output)
            problems, unproved = tuple(told["problems"]), told.get("unproved", "")
            return Renewed(told["changed"], told["reason"], told["usable"], problems, unproved)
        except (ValueError, KeyError, TypeError):
            said = (errors or output).strip()[-1000:] or f"exit status {status}"
            raise RenewalError(f"relay-agent certificate renew: {said}") from None

    def _systemctl(self, *arguments: str) -> None:
        status, _, errors = self._run_command(["systemctl", *arguments])
        if status != 0:
            raise RenewalError(f"systemctl {' '.join(arguments)}: {errors.strip() or f'exit status {status}'}")

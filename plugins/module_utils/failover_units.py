# SPDX-License-Identifier: GPL-3.0-or-later
"""The service on a host that watches the other relays: its settings, its unit, and whether it is as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.managed_files import ManagedFile
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner
from ansible_collections.postroad.relay.plugins.module_utils.toml_text import dump_toml
from ansible_collections.postroad.relay.plugins.module_utils.unit_sandbox import sandbox

__all__ = ["FailoverUnitError", "FailoverUnits", "settings_text"]

SERVICE = "postroad-failover.service"
_HEADER = "# Written by Ansible (role relay_dns): what is changed here, the next run changes back.\n\n"
_AGENT = "/opt/postroad/current/bin/relay-agent"

_UNIT = """\
# Written by Ansible (role relay_dns): what is changed here, the next run changes back.
[Unit]
Description=Postroad: keeps the fleet's address list to the relays that answer
Documentation=https://postroad.example/docs
After=network-online.target nss-lookup.target relay-agent.service
Wants=network-online.target
ConditionPathExists={agent}
# It is a part of the agent's release, and changes with it; but it goes on when the agent does not run.
ReloadPropagatedFrom=relay-agent.service
StartLimitIntervalSec=0

[Service]
Type=notify
# An earlier release, from which or to which the host is on its way, may not know it: then there is none meanwhile.
ExecCondition=/bin/sh -c '{agent} failover --help >/dev/null 2>&1'
ExecStart={agent} failover watch --settings -
# The settings have the key of the name server: root's file, which systemd opens for this service alone.
StandardInput=file:{settings}
StandardOutput=journal
# It ends, and begins again with the release that is current then.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=5s
RestartPreventExitStatus=2
UMask=0077
MemoryMax=256M
TasksMax=64
LimitCORE=0

# No privilege, and nothing in reach but the network.
DynamicUser=yes
CapabilityBoundingSet=
AmbientCapabilities=
{sandbox}

[Install]
WantedBy=multi-user.target
"""


class FailoverUnitError(Exception):
    """The service could not be set up; the text says why."""


def settings_text(settings: Mapping[str, Any], key_secret: str) -> str:
    """The content of the settings' file. settings: as of the module, less the secret; None is left out."""
    document = {key: value for key, value in settings.items() if value is not None and key != "dns"}
    document["dns"] = {key: value for key, value in settings["dns"].items() if value is not None}
    document["dns"]["key_secret"] = key_secret
    return _HEADER + dump_toml(document)


class FailoverUnits:
    """The service as it is wanted: with this text of settings, or (None) not at all. root: of the host's files."""

    def __init__(self, run_command: CommandRunner, text: str | None, root: Path = Path("/")) -> None:
        self._run_command = run_command
        self._wanted = text is not None
        settings = root / "etc/postroad-failover.toml"
        unit = _UNIT.format(agent=_AGENT, settings=settings, sandbox=sandbox("AF_INET AF_INET6 AF_UNIX"))
        self._files = [
            ManagedFile(settings, text or "", mode=0o600, secret=True),
            ManagedFile(root / "etc/systemd/system" / SERVICE, unit),
        ]

    def differing(self) -> list[ManagedFile]:
        """The files that are not as they should be; of a service that is not wanted, those that are there."""
        if self._wanted:
            return [file for file in self._files if file.differs()]
        return [file for file in self._files if file.path.exists()]

    def diffs(self) -> list[dict[str, str]]:
        """Before and after of each, the secret left out."""
        if self._wanted:
            return [file.diff() for file in self.differing()]
        return [
            {"before_header": str(file.path), "after_header": str(file.path), "before": "(there)\n", "after": ""}
            for file in self.differing()
        ]

    def differs(self) -> bool:
        """Whether something is to be done."""
        return bool(self.differing()) or (self._wanted and not self._runs())

    def ensure(self) -> bool:
        """Make it so; whether anything was done. Raises FailoverUnitError and OSError."""
        differing = self.differing()
        if not self._wanted:
            if differing:
                self._run_command(["systemctl", "disable", "--quiet", "--now", SERVICE])
                for file in differing:
                    file.path.unlink()
                self._systemctl("daemon-reload")
            return bool(differing)
        for file in differing:
            file.write()
        if not differing and self._runs():
            return False
        if differing:
            self._systemctl("daemon-reload")
        self._systemctl("enable", "--quiet", SERVICE)
        self._systemctl("restart", SERVICE)
        return True

    def _runs(self) -> bool:
        return all(
            self._run_command(["systemctl", what, "--quiet", SERVICE])[0] == 0 for what in ("is-enabled", "is-active")
        )

    def _systemctl(self, *arguments: str) -> None:
        status, _, errors = self._run_command(["systemctl", *arguments])
        if status != 0:
            said = errors.strip() or f"exit status {status}"
            raise FailoverUnitError(
                f"systemctl {' '.join(arguments)}: {said}; journalctl -u {SERVICE} says more. An agent's release from "
                "before this service has to be brought to this one first, by site.yml."
            )

# SPDX-License-Identifier: GPL-3.0-or-later
"""The service on a host that keeps the sets of shut-out addresses: its files, and whether it is as it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.nft_live import NftError, write_file
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner
from ansible_collections.postroad.relay.plugins.module_utils.unit_sandbox import sandbox

__all__ = ["SETTINGS", "ShutOutUnits", "files"]

SERVICE = "postroad-shut-out.service"
SOCKET = "postroad-shut-out.socket"
# Not in /etc/postroad: that directory is the agent's alone, and this service is not to see its secrets.
SETTINGS = Path("/etc/postroad-shut-out.json")
_UNITS = Path("/etc/systemd/system")
_AGENT = "/opt/postroad/current/bin/relay-agent"

_SOCKET_UNIT = """\
# Written by Postroad (role relay_firewall).
[Unit]
Description=Postroad: notices of wrong passwords, for the packet filter

[Socket]
ListenDatagram=/run/postroad-shut-out/notices
# The agent writes to it, and nobody else.
SocketUser={user}
SocketMode=0600
DirectoryMode=0755

[Install]
WantedBy=sockets.target
"""

_SERVICE_UNIT = f"""\
# Written by Postroad (role relay_firewall).
[Unit]
Description=Postroad: keeps addresses that guess passwords from the submission ports
Requires={SOCKET}
After={SOCKET} postroad-firewall.service
ConditionPathExists={_AGENT}
# It is a part of the agent's release, and changes with it.
PartOf=relay-agent.service
ReloadPropagatedFrom=relay-agent.service
StartLimitIntervalSec=0

[Service]
Type=notify
# An earlier release, from which or to which the host is on its way, may not know it: then there is none meanwhile.
ExecCondition=/bin/sh -c '{_AGENT} shut-out --help >/dev/null 2>&1'
ExecStart={_AGENT} shut-out run --settings {SETTINGS}
# It ends, and begins again with the release that is current then; what it knows is in its state.
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
RestartPreventExitStatus=2
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin
StateDirectory=postroad-shut-out
StateDirectoryMode=0700
UMask=0077
MemoryMax=256M
TasksMax=16
LimitCORE=0

# One privilege, the packet filter, and no way to anything else.
DynamicUser=yes
AmbientCapabilities=CAP_NET_ADMIN
CapabilityBoundingSet=CAP_NET_ADMIN
{sandbox("AF_UNIX AF_NETLINK")}

[Install]
WantedBy=multi-user.target
"""


def files(settings: Mapping[str, Any], agent_user: str) -> dict[Path, str]:
    """What has to be on the host: content by path."""
    return {
        SETTINGS: json.dumps(settings, indent=2, sort_keys=True) + "\n",
        _UNITS / SOCKET: _SOCKET_UNIT.format(user=agent_user),
        _UNITS / SERVICE: _SERVICE_UNIT,
    }


class ShutOutUnits:
    """The service as it is wanted: with these settings, or (None) not at all."""

    def __init__(self, run_command: CommandRunner, settings: Mapping[str, Any] | None, agent_user: str) -> None:
        """Change nothing yet."""
        self._run_command = run_command
        self._wanted = settings is not None
        self._files = files(settings or {}, agent_user)

    def differing(self) -> dict[Path, tuple[str, str]]:
        """Files that are not as they should be: what each has now and what it should have, empty for no file."""
        wanted = {path: content if self._wanted else "" for path, content in self._files.items()}
        return {path: (_read(path), content) for path, content in wanted.items() if _read(path) != content}

    def differs(self) -> bool:
        """Whether something is to be done."""
        if self.differing():
            return True
        if not self._wanted:
            return False
        enabled, _, _ = self._run_command(["systemctl", "is-enabled", "--quiet", SERVICE])
        active, _, _ = self._run_command(["systemctl", "is-active", "--quiet", SOCKET])
        return bool(enabled or active)

    def ensure(self) -> None:
        """Make it so. Raises NftError."""
        differing = self.differing()
        if not self._wanted:
            if differing:
                self._run_command(["systemctl", "disable", "--quiet", "--now", SOCKET, SERVICE])
                for path in differing:
                    path.unlink(missing_ok=True)
                self._systemctl("daemon-reload")
            return
        for path, (_, content) in differing.items():
            write_file(path, content)
        if differing:
            self._systemctl("daemon-reload")
            # A socket that runs is not taken up anew by `enable --now`, and it cannot be restarted under its service.
            self._systemctl("stop", SERVICE, SOCKET)
        self._systemctl("enable", "--quiet", "--now", SOCKET, SERVICE)

    def _systemctl(self, *args: str) -> None:
        status, output, errors = self._run_command(["systemctl", *args])
        if status != 0:
            said = errors.strip() or output.strip() or f"exit status {status}"
            raise NftError(f"{SERVICE} could not be set up: {said}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""

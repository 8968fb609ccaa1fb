# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet filters beside ours that drop what they do not know: ufw and firewalld, and how a port is opened there.

A drop is final in nftables, whichever table has it: our own table cannot open what these keep closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from ansible_collections.postroad.relay.plugins.module_utils.nft_live import write_file
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner

__all__ = ["Firewalld", "ForeignFilter", "ForeignFilterError", "Ufw", "active_filters"]

UFW_SETTINGS = Path("/etc/ufw/ufw.conf")
FIREWALLD_OURS = Path("/etc/postroad-firewalld.json")

_COMMENT = "postroad"
_NOW_AND_EVER: tuple[tuple[str, ...], ...] = ((), ("--permanent",))


class ForeignFilterError(Exception):
    """The tool refused, or may not be used; the text says which ports it is about."""


class ForeignFilter(Protocol):
    """A tool that keeps a packet filter of its own."""

    name: str

    def open_ports(self) -> set[str]:
        """What it lets in from everywhere, as far as is known of ports like C(587/tcp)."""

    def ours(self) -> set[str]:
        """What we had it open."""

    def change(self, opened: Collection[str], closed: Collection[str]) -> None:
        """Open and close ports. Raises ForeignFilterError."""


def active_filters(run_command: CommandRunner, zones: Sequence[str] = ()) -> list[ForeignFilter]:
    """Those that run on this host. zones: of firewalld, in which ports are opened; its default zone when empty."""
    found: list[ForeignFilter] = []
    ufw = Ufw(run_command)
    if ufw.active():
        found.append(ufw)
    firewalld = Firewalld(run_command, zones)
    if firewalld.active():
        found.append(firewalld)
    return found


class Ufw:
    """ufw. Its rules bear comments, by which we know ours."""

    name = "ufw"

    def __init__(self, run_command: CommandRunner) -> None:
        """Look at nothing yet."""
        self._run_command = run_command

    def active(self) -> bool:
        """Whether it filters. Its own file is looked at first: the command takes a third of a second."""
        try:
            settings = UFW_SETTINGS.read_text(encoding="utf-8")
        except OSError:
            return False
        if not re.search(r"^ENABLED=[\"']?yes", settings, re.MULTILINE | re.IGNORECASE):
            return False
        status, output, _ = self._run_command(["ufw", "status"])
        return status == 0 and "Status: active" in output

    def open_ports(self) -> set[str]:
        """See ForeignFilter."""
        return {port for port, _ in self._added()}

    def ours(self) -> set[str]:
        """See ForeignFilter."""
        return {port for port, comment in self._added() if comment == _COMMENT}

    def _added(self) -> list[tuple[str, str]]:
        _, output, _ = self._run_command(["ufw", "show", "added"])
        rule = re.compile(r"^ufw allow (\d+/(?:tcp|udp))(?: comment '([^']*)')?$", re.MULTILINE)
        return [(found[1], found[2] or "") for found in rule.finditer(output)]

    def change(self, opened: Collection[str], closed: Collection[str]) -> None:
        """See ForeignFilter."""
        for port in sorted(opened):
            self._ufw("open", port, "allow", port, "comment", _COMMENT)
        for port in sorted(closed):
            self._ufw("close", port, "--force", "delete", "allow", port)

    def _ufw(self, what: str, port: str, *args: str) -> None:
        status, output, errors = self._run_command(["ufw", *args])
        if status != 0:
            said = errors.strip() or output.strip()
            raise ForeignFilterError(f"ufw is active on this host and could not {what} {port}: {said}")


class Firewalld:
    """firewalld. It keeps no comments: a file of ours says which ports we had it open."""

    name = "firewalld"

    def __init__(self, run_command: CommandRunner, zones: Sequence[str]) -> None:
        """Look at nothing yet."""
        self._run_command = run_command
        self._zones = list(zones)

    def active(self) -> bool:
        """Whether it filters."""
        status, _, _ = self._run_command(["systemctl", "is-active", "--quiet", "firewalld.service"])
        return status == 0

    def _command(self, *args: str) -> str:
        status, output, errors = self._run_command(["firewall-cmd", *args])
        if status != 0:
            said = errors.strip() or output.strip()
            raise ForeignFilterError(f"firewalld is active on this host and refused `{' '.join(args)}`: {said}")
        return output

    def _in_zones(self) -> list[str]:
        if not self._zones:
            self._zones = [self._command("--get-default-zone").strip()]
        return self._zones

    def open_ports(self) -> set[str]:
        """See ForeignFilter. Open is what every zone lets in, now and after its next start."""
        listed = (
            set(self._command(*when, f"--zone={zone}", "--list-ports").split())
            for zone in self._in_zones()
            for when in _NOW_AND_EVER
        )
        return set.intersection(*listed)

    def ours(self) -> set[str]:
        """See ForeignFilter."""
        try:
            return {str(port) for port in json.loads(FIREWALLD_OURS.read_text(encoding="utf-8"))}
        except (OSError, ValueError):
            return set()

    def change(self, opened: Collection[str], closed: Collection[str]) -> None:
        """See ForeignFilter. Each is done for now and for ever, so that no reload costs somebody else's rules."""
        # Each command takes half a second, and one cannot both add and remove.
        added = [f"--add-port={port}" for port in sorted(opened)]
        removed = [f"--remove-port={port}" for port in sorted(closed)]
        commands = [options for options in (added, removed) if options]
        if not commands:
            return
        for zone in self._in_zones():
            for options in commands:
                for when in _NOW_AND_EVER:
                    self._command(*when, f"--zone={zone}", *options)
        kept = (self.ours() | set(opened)) - set(closed)
        write_file(FIREWALLD_OURS, json.dumps(sorted(kept)) + "\n")

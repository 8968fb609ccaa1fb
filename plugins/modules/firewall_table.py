#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the one nftables table of Postroad on a host as the inventory wants it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall_table
short_description: The nftables table of a relay
description:
  - Renders one table, C(inet postroad), loads it in one transaction and makes it what the host boots with.
    Other tables are never touched.
  - The rules are tried in a network namespace of their own first, and what the kernel makes of them there is
    compared with the live table, so that changes by hand are found and undone.
  - SSH is never cut. The ports that sshd listens on, and the one that this very run came by, are always accepted.
  - A timer on the host puts the old rules back unless a fresh SSH connection was made under the new ones in time.
    The action plugin of the same name makes that connection.
author: The Postroad founders
options:
  ports:
    description: The submission ports. Each source has a limited rate of new connections to them.
    type: list
    elements: int
    required: true
  ssh:
    description: The way in for the operator.
    type: dict
    default: {}
    suboptions:
      ports:
        description: Ports of SSH beside those found on the host.
        type: list
        elements: int
        default: []
      sources:
        description: Addresses and networks that may reach SSH; everyone when empty.
        type: list
        elements: str
        default: []
  rates:
    description: The limit for one IPv4 address or one IPv6 /64.
    type: dict
    default: {}
    suboptions:
      new_connections_per_minute:
        description: New connections a minute in the long run.
        type: int
        default: 600
      burst:
        description: New connections at once before the rate counts.
        type: int
        default: 300
      exempt:
        description: Addresses and networks without a limit.
        type: list
        elements: str
        default: []
  outgoing:
    description: Who may open connections to port 25 of other hosts.
    type: dict
    default: {}
    suboptions:
      restrict_smtp:
        description: Whether this is restricted at all.
        type: bool
        default: true
      smtp_users:
        description: Users beside the agent's that may. They must exist.
        type: list
        elements: str
        default: []
  extra_ports:
    description: Further open ports.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      sources:
        description: Addresses and networks that may reach it; everyone when empty.
        type: list
        elements: str
        default: []
  other_ports:
    description: What becomes of connections to any other port.
    type: str
    choices: [reject, drop, accept]
    default: reject
  agent_user:
    description: The system user of the agent; made when missing.
    type: str
    default: postroad
  restore_after:
    description: Seconds until the old rules come back when nobody confirms the new ones.
    type: int
    default: 45
  step:
    description: Set by the action plugin. V(confirm) keeps the rules that the step before put in place.
    type: str
    choices: [apply, confirm]
    default: apply
  connection:
    description: Set by the action plugin. The SSH connection that applied the rules, which must not be this one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Open the submission ports and nothing else
  postroad.relay.firewall_table:
    ports: [587, 465]
    ssh:
      sources: [198.51.100.0/24, 2001:db8::/32]
"""

RETURN = r"""
ssh_ports:
  description: The ports accepted as SSH, those found on the host included.
  returned: when rules were computed
  type: list
  elements: int
pending:
  description: Whether the rules are live but not confirmed yet.
  returned: when rules were computed
  type: bool
missing_package:
  description: The Debian package to install before another try.
  returned: when nft is not on the host
  type: str
"""

import ipaddress
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils import ssh_access
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import (
    BOOT_FILE,
    BOOT_UNIT,
    NftError,
    PacketFilter,
    boot_units,
)
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    UNKNOWN_UID,
    ExtraPort,
    FirewallPolicy,
    PolicyError,
    Rates,
    parse_networks,
    render,
    submission_ports,
    without_ids,
)
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError, ensure_service_user

PLACE_OF_NFT = "/usr/sbin/nft"
"""Where Debian's package puts it."""

ADDRESSES = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, Any] = {
    "ports": {"type": "list", "elements": "int", "required": True},
    "ssh": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {"ports": {"type": "list", "elements": "int", "default": []}, "sources": ADDRESSES},
    },
    "rates": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "new_connections_per_minute": {"type": "int", "default": 600},
            "burst": {"type": "int", "default": 300},
            "exempt": ADDRESSES,
        },
    },
    "outgoing": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "restrict_smtp": {"type": "bool", "default": True},
            "smtp_users": {"type": "list", "elements": "str", "default": []},
        },
    },
    "extra_ports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
            "sources": ADDRESSES,
        },
    },
    "other_ports": {"type": "str", "choices": ["reject", "drop", "accept"], "default": "reject"},
    "agent_user": {"type": "str", "default": "postroad"},
    "restore_after": {"type": "int", "default": 45},
    "step": {"type": "str", "choices": ["apply", "confirm"], "default": "apply"},
    "connection": {"type": "str", "default": ""},
}


class Table:
    """One run of the module: the wanted table, the live one, and the way from here to there."""

    def __init__(self, module: AnsibleModule, nft: str | None) -> None:
        """Look at the host: SSH and the filter. `nft` None: it is not there, and this is check mode."""
        self.installed = nft is not None
        nft = nft or PLACE_OF_NFT
        self.module = module
        self.params: dict[str, Any] = module.params
        self.filter = PacketFilter(self.run, nft)
        self.units = boot_units(nft)
        self.connection = ssh_access.current_connection()

    def run(self, args: list[str], /) -> tuple[int, str, str]:
        """Run a command of the host; one that is not there is one that failed."""
        try:
            status, output, errors = self.module.run_command(args, handle_exceptions=False)
        except OSError as error:
            return 127, "", str(error)
        return status, output, errors

    def smtp_users(self) -> tuple[dict[str, int] | None, bool]:
        """Ids of the users that may send to port 25 (None: anyone may), and whether the agent's was made."""
        if not self.params["outgoing"]["restrict_smtp"]:
            return None, False
        agent = self.params["agent_user"]
        made = ensure_service_user(self.run, agent, check_mode=self.module.check_mode)
        ids = {}
        for name in [agent, *self.params["outgoing"]["smtp_users"]]:
            try:
                ids[name] = pwd.getpwnam(name).pw_uid
            except KeyError as error:
                if name != agent:
                    raise PolicyError(f"relay_firewall_outgoing.smtp_users: no user {name!r} on this host") from error
                ids[name] = UNKNOWN_UID
        return ids, made

    def ssh_ports(self, listeners: list[ssh_access.Listener]) -> list[int]:
        """The ports asked for, with those added that sshd has and that this run came by."""
        asked = set(self.params["ssh"]["ports"])
        found = ssh_access.sshd_ports(self.run, listeners)
        if self.connection is not None:
            found.add(self.connection.server_port)
        forgotten = sorted(found - asked)
        if asked and forgotten:
            named = ", ".join(map(str, forgotten))
            self.module.warn(f"relay_firewall_ssh.ports does not name {named}, where sshd is: left open all the same")
        return sorted(asked | found)

    def check_operator_is_let_in(self) -> None:
        """Raise PolicyError when the sources of SSH leave out the address that this run came from."""
        sources = self.params["ssh"]["sources"]
        if not sources or self.connection is None:
            return
        client = ipaddress.ip_address(self.connection.client.partition("%")[0])
        if not any(client in network for network in parse_networks(sources, "relay_firewall_ssh.sources")):
            raise PolicyError(
                f"relay_firewall_ssh.sources: {client}, the address that this run comes from, is in none of "
                f"{', '.join(sources)}: it would lock you out, so the packet filter is left as it was"
            )

    def warn_of_services(self, listeners: list[ssh_access.Listener], open_ports: set[int]) -> None:
        """Say which services of this host the new rules close."""
        for port in sorted({listener.port for listener in listeners if not listener.is_loopback} - open_ports):
            programs = {name for listener in listeners if listener.port == port for name in listener.programs}
            self.module.warn(
                f"port {port} ({', '.join(sorted(programs)) or 'unknown program'}) has a listener and will be closed "
                "from outside; name it in relay_firewall_extra_ports to keep it open"
            )

    def apply(self) -> dict[str, Any]:
        """Compare, and unless nothing differs or this is check mode, load the new rules with the timer armed."""
        params = self.params
        self.check_operator_is_let_in()
        listeners = ssh_access.tcp_listeners(self.run)
        ssh_ports = self.ssh_ports(listeners)
        users, user_made = self.smtp_users()
        extra_ports = [ExtraPort(**extra) for extra in params["extra_ports"]]
        rules = render(
            FirewallPolicy(
                ports=params["ports"],
                ssh_ports=ssh_ports,
                ssh_sources=params["ssh"]["sources"],
                extra_ports=extra_ports,
                rates=Rates(**params["rates"]),
                other_ports=params["other_ports"],
                smtp_users=users,
            )
        )
        # Check mode on a host that does not have nft yet: there is no table, and rules cannot be tried.
        wanted, live = (self.filter.as_loaded(rules), self.filter.live()) if self.installed else (rules, "")
        kept = _read(BOOT_FILE)
        outdated = {path: content for path, content in self.units.items() if _read(path) != content}
        boots = self.filter.boots()
        boot_differs = kept != rules or bool(outdated) or not boots
        result: dict[str, Any] = {
            "changed": user_made or boot_differs or wanted != live,
            "ssh_ports": ssh_ports,
            "pending": False,
            "diff": [],
        }
        if kept != rules:
            result["diff"].append(_diff(str(BOOT_FILE), kept, rules if kept else without_ids(rules)))
        elif wanted != live:
            result["diff"].append(_diff("live table inet postroad", live, wanted))
        result["diff"] += [_diff(str(path), _read(path), content) for path, content in outdated.items()]
        if not boots:
            result["diff"].append(_diff(BOOT_UNIT, "", "starts at boot\n"))
        if wanted != live and params["other_ports"] != "accept":
            tcp = {extra.port for extra in extra_ports if extra.protocol == "tcp"}
            # In check mode the agent still has the ports that a real run would have closed before it comes to here.
            dropped = submission_ports(kept) if self.module.check_mode else set()
            self.warn_of_services(listeners, {*params["ports"], *ssh_ports, *tcp, *dropped})
        if self.module.check_mode or not result["changed"]:
            return result
        if wanted == live:
            self.filter.keep(rules, self.units)
        else:
            self.filter.apply(rules, restore_after=params["restore_after"])
            result["pending"] = True
            result["connection"] = str(self.connection or "")
        return result

    def confirm(self) -> dict[str, Any]:
        """Keep what `apply` loaded; raises NftError when that is no longer there or nothing has been proved."""
        if self.connection is not None and str(self.connection) == self.params["connection"]:
            raise NftError("no fresh SSH connection was made: that the new rules let the operator in is not proved")
        rules = _read(self.filter.staged_rules)
        if not rules:
            raise NftError("nothing was applied that could be confirmed; run again")
        self.filter.disarm()
        if self.filter.as_loaded(rules) != self.filter.live():
            raise NftError("the old rules came back before the new ones were confirmed; run again")
        self.filter.keep(rules, self.units)
        return {"changed": True}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    nft = module.get_bin_path("nft")
    if nft is None and not module.check_mode:
        module.fail_json(msg="nft is not on this host: install the package nftables", missing_package="nftables")
    table = Table(module, nft)
    try:
        result = table.confirm() if module.params["step"] == "confirm" else table.apply()
    except (NftError, OSError, PolicyError, ServiceUserError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

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
  - A timer on the host puts the old rules back unless the controller got in under the new ones in time, by a fresh SSH
    connection and by a submission port. The action plugin of the same name tries both. Only then is the timer stopped,
    and are the rules what the host boots with.
  - Where ufw or firewalld filter, too, the ports are opened there.
  - A service beside the agent keeps sets of addresses that guess passwords; see C(relay_firewall_shut_out).
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
  extra_rules:
    description: The operator's own rules, in the language of nft. They are tried before all others.
    type: dict
    default: {}
    suboptions:
      incoming:
        description: Rules for what comes in, beside what belongs to a connection that there is already.
        type: list
        elements: str
        default: []
      outgoing:
        description: Rules for what goes out.
        type: list
        elements: str
        default: []
      declarations:
        description: Sets, maps and chains of the table that these rules use, each in one line.
        type: list
        elements: str
        default: []
  shut_out:
    description: Addresses that guess passwords, kept from the submission ports for a while.
    type: dict
    default: {}
    suboptions:
      enabled:
        description: Whether this is done.
        type: bool
        default: true
      after_shut_outs:
        description: How often the agent has to shut an account out from an address.
        type: int
        default: 3
      after_accounts:
        description: For how many different accounts an address has to give wrong passwords.
        type: int
        default: 20
      within:
        description: Seconds in which that has to be.
        type: int
        default: 86400
      at_most:
        description: Seconds of the longest shut-out.
        type: int
        default: 86400
      never:
        description: Addresses and networks that are never shut out.
        type: list
        elements: str
        default: []
  proof:
    description: How new rules are proved.
    type: dict
    default: {}
    suboptions:
      seconds:
        description: Seconds until the old rules come back when nobody confirms the new ones, from 10 to 55.
        type: int
        default: 45
      submission:
        description: Whether the controller has to get into a submission port, too.
        type: bool
        default: true
      address:
        description: The name or address for that; the one that SSH uses when empty.
        type: str
        default: ""
  beside:
    description: What is done where ufw or firewalld filter, too.
    type: dict
    default: {}
    suboptions:
      open:
        description: Open our ports there; else fail when they are not open.
        type: bool
        default: true
      firewalld_zones:
        description: Zones of firewalld; its default zone when empty.
        type: list
        elements: str
        default: []
  agent_user:
    description: The system user of the agent; made when missing.
    type: str
    default: postroad
  step:
    description:
      - Set by the action plugin. V(confirm) keeps the rules that the step before put in place, V(restore) puts the
        old ones back unless they are.
    type: str
    choices: [apply, confirm, restore]
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
served:
  description: Those of the ports that a program on the host listens on.
  returned: when rules were computed
  type: list
  elements: int
server:
  description: The address of the host that SSH came to.
  returned: when rules were computed
  type: str
too_late:
  description: Whether the timer had put the old rules back before.
  returned: for the step confirm, when it fails
  type: bool
put_back:
  description: Whether this run put the old rules back, because the timer had not.
  returned: for the step restore
  type: bool
pending:
  description: Whether the rules are live but not confirmed yet.
  returned: when rules were computed
  type: bool
missing_package:
  description: The Debian package to install before another try.
  returned: when nft is not on the host
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.firewall_change import FirewallChange, FirewallError

TEXTS = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, Any] = {
    "ports": {"type": "list", "elements": "int", "required": True},
    "ssh": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {"ports": {"type": "list", "elements": "int", "default": []}, "sources": TEXTS},
    },
    "rates": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "new_connections_per_minute": {"type": "int", "default": 600},
            "burst": {"type": "int", "default": 300},
            "exempt": TEXTS,
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
            "sources": TEXTS,
        },
    },
    "other_ports": {"type": "str", "choices": ["reject", "drop", "accept"], "default": "reject"},
    "extra_rules": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {"incoming": TEXTS, "outgoing": TEXTS, "declarations": TEXTS},
    },
    "shut_out": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "enabled": {"type": "bool", "default": True},
            "after_shut_outs": {"type": "int", "default": 3},
            "after_accounts": {"type": "int", "default": 20},
            "within": {"type": "int", "default": 86_400},
            "at_most": {"type": "int", "default": 86_400},
            "never": TEXTS,
        },
    },
    "proof": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "seconds": {"type": "int", "default": 45},
            "submission": {"type": "bool", "default": True},
            "address": {"type": "str", "default": ""},
        },
    },
    "beside": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {"open": {"type": "bool", "default": True}, "firewalld_zones": TEXTS},
    },
    "agent_user": {"type": "str", "default": "postroad"},
    "step": {"type": "str", "choices": ["apply", "confirm", "restore"], "default": "apply"},
    "connection": {"type": "str", "default": ""},
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    nft = module.get_bin_path("nft")
    if nft is None and not module.check_mode:
        module.fail_json(msg="nft is not on this host: install the package nftables", missing_package="nftables")

    def run_command(args: list[str], /) -> tuple[int, str, str]:
        """Run a command of the host; one that is not there is one that failed."""
        try:
            status, output, errors = module.run_command(args, handle_exceptions=False)
        except OSError as error:
            return 127, "", str(error)
        return status, output, errors

    try:
        change = FirewallChange(run_command, nft, module.params, warn=module.warn, check_mode=module.check_mode)
        steps = {"apply": change.apply, "confirm": change.confirm, "restore": change.restore}
        result = steps[module.params["step"]]()
    except FirewallError as error:
        module.fail_json(msg=str(error), too_late=error.too_late)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

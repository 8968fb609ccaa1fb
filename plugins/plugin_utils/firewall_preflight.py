# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of the relay_firewall variables on the controller, before the host is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    ExtraPort,
    FirewallPolicy,
    PolicyError,
    Rates,
    render,
)

__all__ = ["firewall_problems"]


def firewall_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """A problem for each variable with one, beginning with the variable.

    `values` are the role's variables with their defaults. Each is judged in a policy of its own, so that the fault of
    one does not hide that of another.
    """
    ssh, rates = values["relay_firewall_ssh"], values["relay_firewall_rates"]
    extra = [ExtraPort(**port) for port in values["relay_firewall_extra_ports"]]
    # The way in is found on the host; 22 stands for it.
    for policy in (
        FirewallPolicy(ports=values["relay_firewall_ports"] or [], ssh_ports=[22]),
        FirewallPolicy(ports=[], ssh_ports=[22, *ssh["ports"]], ssh_sources=ssh["sources"]),
        FirewallPolicy(ports=[], ssh_ports=[22], extra_ports=extra),
        FirewallPolicy(ports=[], ssh_ports=[22], rates=Rates(**rates)),
    ):
        try:
            render(policy)
        except PolicyError as error:
            yield str(error)

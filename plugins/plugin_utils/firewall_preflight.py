# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of the relay_firewall variables on the controller, before the host is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    ExtraPort,
    ExtraRules,
    FirewallPolicy,
    PolicyError,
    Rates,
    render,
)

__all__ = ["firewall_problems"]

_SHUT_OUT_HIGHEST = {"after_shut_outs": 1000, "after_accounts": 1000, "within": 2_592_000, "at_most": 2_592_000}


def firewall_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """A problem for each variable with one, beginning with the variable.

    `values` are the role's variables with their defaults. Each is judged in a policy of its own, so that the fault of
    one does not hide that of another. What only nft can say of the operator's own rules is left to the host.
    """
    ssh, rates = values["relay_firewall_ssh"], values["relay_firewall_rates"]
    shut_out, proof = values["relay_firewall_shut_out"], values["relay_firewall_proof"]
    extra = [ExtraPort(**port) for port in values["relay_firewall_extra_ports"]]
    # The way in is found on the host; 22 stands for it.
    for policy in (
        FirewallPolicy(ports=values["relay_firewall_ports"] or [], ssh_ports=[22]),
        FirewallPolicy(ports=[], ssh_ports=[22, *ssh["ports"]], ssh_sources=ssh["sources"]),
        FirewallPolicy(ports=[], ssh_ports=[22], extra_ports=extra),
        FirewallPolicy(ports=[], ssh_ports=[22], rates=Rates(**rates)),
        FirewallPolicy(ports=[], ssh_ports=[22], extra_rules=ExtraRules(**values["relay_firewall_extra_rules"])),
        FirewallPolicy(ports=[], ssh_ports=[22], shut_out=shut_out["never"]),
    ):
        try:
            render(policy)
        except PolicyError as error:
            yield str(error)
    for key, highest in _SHUT_OUT_HIGHEST.items():
        if not 1 <= shut_out[key] <= highest:
            yield f"relay_firewall_shut_out.{key}: {shut_out[key]} is not between 1 and {highest}"
    if not 10 <= proof["seconds"] <= 55:
        yield f"relay_firewall_proof.seconds: {proof['seconds']} is not between 10 and 55: the promise is a minute"

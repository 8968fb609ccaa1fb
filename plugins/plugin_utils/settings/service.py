# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that an inventory's variables make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.direct_ports import direct_listeners
from ansible_collections.postroad.relay.plugins.module_utils.port_order import offers
from ansible_collections.postroad.relay.plugins.plugin_utils.incoming_ports import (
    DEFAULT_KIND,
    DEFAULT_SECURITY,
    incoming_port,
)

from .mail_service import Incoming, MailService

__all__ = ["mail_service"]


def mail_service(
    wanted: Mapping[str, Any], listeners: Sequence[Mapping[str, Any]], hostname: str, authority: str = ""
) -> MailService:
    """The service of `relay_settings_service`, with its defaults.

    listeners: as in `relay_agent_listeners`; those that only this host reaches, or that a balancer stands in front of,
    are offered to nobody. authority: in PEM, "" for one that devices trust already.
    """
    name = wanted.get("name") or hostname
    return MailService(
        name=name,
        title=wanted.get("title") or name,
        domains=tuple(wanted["domains"]),
        offers=tuple(offers(direct_listeners(listeners))),
        incoming=tuple(
            Incoming(
                kind=each.get("kind") or DEFAULT_KIND,
                host=each["host"],
                port=incoming_port(each),
                security=each.get("security") or DEFAULT_SECURITY,
                username=each.get("username") or "address",
            )
            for each in wanted.get("incoming") or ()
        ),
        authority=authority,
        support=wanted.get("support") or "",
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the web server serves for a service, and how a service is made of an inventory's variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.port_order import offers

from .mail_service import Incoming, MailService
from .settings_autoconfig import autoconfig_files

__all__ = ["GENERATORS", "mail_service", "site_files"]


def _autoconfig(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    return autoconfig_files(service)


def _authority(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    """What people install on their devices once, where the authority is the fleet's own."""
    return {"ca.pem": service.authority.encode("ascii")} if service.authority else {}


def _reach(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    """What a page of any site may ask at each port, to see whether it can be reached from where it is read."""
    return {"reach.json": json.dumps({"service": service.name}).encode() + b"\n"}


GENERATORS: tuple[Callable[[MailService, Sequence[int]], Mapping[str, bytes]], ...] = (_autoconfig, _authority, _reach)
"""Each gives files by their path below the root of the web server; no path comes from two of them.

They take the service and the ports at which a browser gets them by TLS.
"""


def site_files(service: MailService, listeners: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The text of each public file by its path. listeners: as in `relay_agent_listeners`.

    Raises ValueError for a path that leads elsewhere, or comes twice.
    """
    web_ports = [int(each["port"]) for each in listeners if each.get("web") and each["tls"] == "implicit"]
    files: dict[str, str] = {}
    for generate in GENERATORS:
        for path, content in generate(service, web_ports).items():
            if path in files or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} is given twice, or is no path below the root of the web server")
            files[path] = content.decode("utf-8")
    return files


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
        offers=tuple(offers(listener for listener in listeners if _is_public(listener))),
        incoming=tuple(
            Incoming(
                kind=each.get("kind") or "imap",
                host=each["host"],
                port=993 if each.get("port") is None else int(each["port"]),
                security=each.get("security") or "implicit",
                username=each.get("username") or "address",
            )
            for each in wanted.get("incoming") or ()
        ),
        authority=authority,
        support=wanted.get("support") or "",
    )


def _is_public(listener: Mapping[str, Any]) -> bool:
    address = str(listener.get("address") or "")
    return not (listener.get("proxy_from") or address.startswith("127.") or address == "::1")

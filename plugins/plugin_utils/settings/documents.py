# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the web server serves for a service."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .autoconfig import autoconfig_files
from .mail_service import MailService
from .page import settings_page

__all__ = ["GENERATORS", "site_files"]


def _autoconfig(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    return autoconfig_files(service)


def _page(service: MailService, web_ports: Sequence[int]) -> dict[str, bytes]:
    return settings_page(service, web_ports=web_ports)


def _authority(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    """What people install on their devices once, where the authority is the fleet's own."""
    return {"ca.pem": service.authority.encode("ascii")} if service.authority else {}


def _reach(service: MailService, _: Sequence[int]) -> dict[str, bytes]:
    """What a page of any site may ask at each port, to see whether it can be reached from where it is read."""
    return {"reach.json": json.dumps({"service": service.name}).encode() + b"\n"}


GENERATORS: tuple[Callable[[MailService, Sequence[int]], Mapping[str, bytes]], ...] = (
    _page,
    _autoconfig,
    _authority,
    _reach,
)
"""Each gives files by their path below the root of the web server; no path comes from two of them.

They take the service and the ports at which a browser gets them by TLS.
"""


def site_files(service: MailService, listeners: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The text of each public file by its path. listeners: as in `relay_agent_listeners`.

    Raises ValueError for a path that leads elsewhere, or comes twice, and as `settings_page` does.
    """
    web_ports = [int(each["port"]) for each in listeners if each.get("web") and each["tls"] == "implicit"]
    files: dict[str, str] = {}
    for generate in GENERATORS:
        for path, content in generate(service, web_ports).items():
            if path in files or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} is given twice, or is no path below the root of the web server")
            files[path] = content.decode("utf-8")
    return files

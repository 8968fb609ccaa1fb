# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of relay_tls_certificate on the controller, before the host is touched."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    check_provided,
    parse_chain,
    private_key_matches,
)

__all__ = ["certificate_problems"]

VARIABLE = "relay_tls_certificate"


def certificate_problems(
    wanted: Mapping[str, Any], hostname: str, read: Callable[[str], str], ports: Collection[int] = ()
) -> Iterator[str]:
    """A problem for each fault, beginning with the variable.

    `wanted` is relay_tls_certificate with its defaults; `read` gives the text of one of the operator's files on the
    controller or raises CertificateError. `ports` are those of the relay's own listeners.
    """
    names = wanted["names"] or [hostname]
    if hostname not in names:
        yield f"{VARIABLE}.names: {', '.join(names)} leaves out {hostname}, the name that clients connect to"
    if wanted["mode"] == "acme":
        yield from _acme_problems(wanted, names, read, ports)
    else:
        for key in ("acme", "dns", "tlsa"):
            if wanted.get(key):
                yield f"{VARIABLE}.{key}: is for mode acme, and the mode is {wanted['mode']}"
    if wanted["mode"] != "provided":
        for key in ("certificate", "key"):
            if wanted[key]:
                yield f"{VARIABLE}.{key}: is for mode provided, and the mode is {wanted['mode']}"
        return
    missing = [key for key in ("certificate", "key") if not wanted[key]]
    for key in missing:
        yield f"{VARIABLE}.{key}: is missing (mode provided takes the file's name here)"
    if missing or wanted["source"] != "controller":
        return
    texts: dict[str, str] = {}
    for key in ("certificate", "key"):
        try:
            texts[key] = read(wanted[key])
        except CertificateError as error:
            yield f"{VARIABLE}.{key}: {error}"
    if "certificate" not in texts:
        return
    try:
        certificate = parse_chain(texts["certificate"], wanted["certificate"])[0]
        for fault in check_provided(certificate, dict.fromkeys([hostname, *names])).errors:
            yield f"{VARIABLE}.certificate: {wanted['certificate']} {fault}"
        if "key" in texts and not private_key_matches(certificate, texts["key"], wanted["key"]):
            yield f"{VARIABLE}.key: {wanted['key']} does not belong to {wanted['certificate']}"
    except CertificateError as error:
        yield f"{VARIABLE}: {error}"


def _acme_problems(
    wanted: Mapping[str, Any], names: Collection[str], read: Callable[[str], str], ports: Collection[int]
) -> Iterator[str]:
    acme, server = wanted.get("acme"), wanted.get("dns")
    if server:
        try:
            base64.b64decode(server["key_secret"], validate=True)
        except (binascii.Error, ValueError):
            yield f"{VARIABLE}.dns.key_secret: is not in base64, as tools for TSIG keys print it"
    if not acme:
        yield f"{VARIABLE}.acme: is missing (mode acme takes at least your e-mail address here, as email)"
        return
    if "@" not in acme["email"]:
        yield f"{VARIABLE}.acme.email: {acme['email']!r} is not an e-mail address"
    if not acme["directory_url"].startswith("https://"):
        yield f"{VARIABLE}.acme.directory_url: {acme['directory_url']!r} is no address that begins with https://"
    if acme["ca"]:
        try:
            parse_chain(read(acme["ca"]), acme["ca"])
        except CertificateError as error:
            yield f"{VARIABLE}.acme.ca: {error}"
    if acme["challenge"] == "dns":
        if not server:
            yield f"{VARIABLE}.dns: is missing (the challenge dns writes a record at the server that is named here)"
        return
    if 80 in ports:
        yield (
            f"{VARIABLE}.acme.challenge: http needs port 80, and a listener in relay_agent_listeners has it; "
            "take that listener to another port, share the port with relay_settings (web), or choose the challenge dns"
        )
    for name in names:
        if name.startswith("*."):
            yield f"{VARIABLE}.names: {name} can be had by the challenge dns only"

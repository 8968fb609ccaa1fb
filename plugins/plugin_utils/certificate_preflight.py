# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of relay_tls_certificate on the controller, before the host is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.certificate import (
    CertificateError,
    check_provided,
    parse_chain,
    private_key_matches,
)

__all__ = ["certificate_problems"]

VARIABLE = "relay_tls_certificate"


def certificate_problems(wanted: Mapping[str, Any], hostname: str, read: Callable[[str], str]) -> Iterator[str]:
    """A problem for each fault, beginning with the variable.

    `wanted` is relay_tls_certificate with its defaults; `read` gives the text of one of the operator's files on the
    controller or raises CertificateError.
    """
    names = wanted["names"] or [hostname]
    if hostname not in names:
        yield f"{VARIABLE}.names: {', '.join(names)} leaves out {hostname}, the name that clients connect to"
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

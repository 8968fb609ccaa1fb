# SPDX-License-Identifier: GPL-3.0-or-later
"""A profile for Apple's devices (`.mobileconfig`): the mail account, and the authority to trust, before it is signed.

It names nobody. The device asks its owner for address, name and passwords as it installs the profile (Apple's
Configuration Profile Reference, com.apple.mail.managed).
"""

from __future__ import annotations

import plistlib
import re
import uuid
from typing import Any

from .mail_service import MailService

__all__ = ["PROFILE", "profile"]

PROFILE = "postroad.mobileconfig"
"""Its name on the web server."""

_TYPES = {"imap": "EmailTypeIMAP", "pop3": "EmailTypePOP"}
_SIGN_IN = "EmailAuthPassword"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def profile(service: MailService) -> bytes | None:
    """The property list in XML, the same for the same service; None when there is nothing to put into one.

    A mail account needs the incoming side: without it, the profile has the authority alone.
    """
    payloads = [_authority(service, number, text) for number, text in enumerate(_certificates(service.authority), 1)]
    if service.incoming:
        payloads.append(_account(service))
    if not payloads:
        return None
    whole = _payload(service, "Configuration", "") | {
        "PayloadDisplayName": service.title,
        "PayloadDescription": f"Settings of {service.title} for mail.",
        "PayloadOrganization": service.title,
        "PayloadRemovalDisallowed": False,
        "PayloadContent": payloads,
    }
    return plistlib.dumps(whole, sort_keys=True)


def _certificates(authority: str) -> list[str]:
    return [match[0] for match in _CERTIFICATE.finditer(authority)]


def _authority(service: MailService, number: int, text: str) -> dict[str, Any]:
    return _payload(service, "com.apple.security.pem", f"authority{number}") | {
        "PayloadDisplayName": f"Authority of {service.title}",
        "PayloadCertificateFileName": "ca.pem",
        "PayloadContent": text.encode("ascii"),
    }


def _account(service: MailService) -> dict[str, Any]:
    incoming, outgoing = service.incoming[0], service.offers[0]
    return _payload(service, "com.apple.mail.managed", "mail") | {
        "PayloadDisplayName": service.title,
        "EmailAccountDescription": service.title,
        "EmailAccountType": _TYPES[incoming.kind],
        "IncomingMailServerAuthentication": _SIGN_IN,
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": True,
        "OutgoingMailServerAuthentication": _SIGN_IN,
        "OutgoingMailServerHostName": service.name,
        "OutgoingMailServerPortNumber": outgoing.port,
        "OutgoingMailServerUseSSL": True,
        # Two services with a password each.
        "OutgoingPasswordSameAsIncomingPassword": False,
    }


def _payload(service: MailService, kind: str, part: str) -> dict[str, Any]:
    """What every payload has. Devices know a profile again by its identifier, and replace it by a newer one."""
    identifier = ".".join([*reversed(service.name.split(".")), "postroad", *([part] if part else [])])
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": identifier,
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, identifier)).upper(),
    }

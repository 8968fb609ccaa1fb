# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile for Apple's devices, as they read it."""

from __future__ import annotations

import plistlib
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.settings.profile import profile

from tests.unit.plugins.offered import AUTHORITY, service


def read(**changes: Any) -> dict[str, Any]:
    made = profile(service(**changes))
    assert made is not None
    assert made == profile(service(**changes))
    found: dict[str, Any] = plistlib.loads(made)
    return found


def test_account_and_authority() -> None:
    whole = read()
    assert (whole["PayloadType"], whole["PayloadIdentifier"]) == ("Configuration", "org.example.relay.postroad")
    authority, account = whole["PayloadContent"]
    assert authority["PayloadContent"] == AUTHORITY.encode()
    assert account["EmailAccountType"] == "EmailTypeIMAP"
    assert account["OutgoingMailServerHostName"] == "relay.example.org"
    assert account["OutgoingMailServerPortNumber"] == 443
    assert account["OutgoingPasswordSameAsIncomingPassword"] is False
    identifiers = [payload["PayloadUUID"] for payload in (whole, authority, account)]
    assert len(set(identifiers)) == 3


def test_it_names_nobody_so_that_the_device_asks() -> None:
    account = read()["PayloadContent"][-1]
    assert not {"EmailAddress", "IncomingMailServerUsername", "OutgoingMailServerUsername"} & set(account)


def test_both_authorities_of_a_change_are_installed() -> None:
    kinds = [payload["PayloadType"] for payload in read(authority=AUTHORITY * 2, incoming=())["PayloadContent"]]
    assert kinds == ["com.apple.security.pem", "com.apple.security.pem"]


def test_without_anything_to_install_there_is_none() -> None:
    assert profile(service(authority="", incoming=())) is None

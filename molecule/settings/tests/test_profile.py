# SPDX-License-Identifier: GPL-3.0-or-later
"""The profile for Apple's devices: what is in it, and whose signature is on it, before and after a renewal."""

import plistlib
from collections.abc import Callable
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY
from traffic.pages import Get
from traffic.relays import Relay


@pytest.fixture
def signed_profile(get: Get, laptop: Any) -> Callable[[str], tuple[dict[str, Any], str]]:
    """Gives a relay's profile, verified, and the serial number of the certificate that signed it."""

    def fetch(relay: str) -> tuple[dict[str, Any], str]:
        page = get(relay, "/postroad.mobileconfig")
        assert (page.status, page.headers["content-type"]) == (200, "application/x-apple-aspen-config")
        trust = f"-CAfile {AUTHORITY} -purpose any"
        laptop.check_output(
            f"openssl cms -verify -inform DER -in /root/body {trust} -signer /root/signer.pem -out /root/profile"
        )
        serial = laptop.check_output("openssl x509 -in /root/signer.pem -noout -serial")
        return plistlib.loads(laptop.run("cat /root/profile").stdout_bytes), serial

    return fetch


@pytest.fixture
def shown(laptop: Any) -> Callable[[str], str]:
    """Gives the serial number of the certificate that a relay shows."""
    return lambda relay: str(
        laptop.check_output(
            f"openssl s_client -connect {relay}.postroad.test:465 </dev/null 2>/dev/null | openssl x509 -noout -serial"
        )
    )


def test_what_the_device_is_given(signed_profile: Callable[[str], tuple[dict[str, Any], str]]) -> None:
    profile, _ = signed_profile("relay1")
    authority, account = profile["PayloadContent"]
    assert authority["PayloadType"] == "com.apple.security.pem"
    assert authority["PayloadContent"].startswith(b"-----BEGIN CERTIFICATE-----")
    assert account["OutgoingMailServerHostName"] == "relay1.postroad.test"
    assert account["OutgoingMailServerPortNumber"] == 443
    assert account["IncomingMailServerHostName"] == "mx.postroad.test"
    # The device asks for them.
    assert not {"EmailAddress", "OutgoingMailServerUsername", "OutgoingPassword"} & set(account)
    profile, _ = signed_profile("relay2")
    assert [payload["PayloadType"] for payload in profile["PayloadContent"]] == ["com.apple.mail.managed"]


def test_a_renewed_certificate_signs(
    signed_profile: Callable[[str], tuple[dict[str, Any], str]],
    shown: Callable[[str], str],
    relays: dict[str, Relay],
    eventually: Callable[[Callable[[], bool]], bool],
) -> None:
    """By a challenge at the port 80 that the relay shares, on the relay's own timer's unit."""
    profile, before = signed_profile("relay2")
    assert before == shown("relay2")
    host = relays["relay2"].host
    host.check_output('sed -i \'s/"issued": "[0-9a-f]*"/"issued": ""/\' /etc/postroad/tls/renewal.json')
    host.check_output("systemctl start relay-certificate.service")
    assert shown("relay2") != before
    assert eventually(lambda: signed_profile("relay2") == (profile, shown("relay2")))
    assert host.run("ls /run/postroad-acme").rc != 0, "challenges are left behind"

# SPDX-License-Identifier: GPL-3.0-or-later
"""A new certificate that no handshake shows: on a port that is shut to the proof, and on a host that is drained.

The timer makes up for the proof when the host takes mail again, and so does undrain.yml.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from traffic.fixtures import CHECKOUT
from traffic.operator import Run
from traffic.relays import LISTENERS, Relay

RELAY = "relay1"
_UNIT = "relay-certificate.service"
_IN_USE = "readlink -f /etc/postroad/tls/current"
_KEPT = "/etc/postroad/tls/issued"


@pytest.fixture
def shut(relays: dict[str, Relay]) -> Iterator[Callable[[], None]]:
    """Has relay1 refuse its own connections to port 587, and give up the proof soon; until it is called."""
    host = relays[RELAY].host
    rule = "chain output { type filter hook output priority 0; oifname lo tcp dport 587 reject with tcp reset; }"
    renew = "/opt/postroad/current/bin/relay-agent certificate renew --within 2"
    place = f"/run/systemd/system/{_UNIT}.d"
    host.check_output(f"printf 'table inet shut {{ %s\\n}}\\n' '{rule}' | nft -f -")
    host.check_output(f"mkdir -p {place} && printf '[Service]\\nExecStart=\\nExecStart={renew}\\n' > {place}/soon.conf")
    host.check_output("systemctl daemon-reload")

    def again() -> None:
        host.run(f"nft delete table inet shut; rm -rf {place}; systemctl daemon-reload")

    yield again
    again()


def test_the_old_one_comes_back_where_a_port_has_no_handshake(
    shut: Callable[[], None],
    relays: dict[str, Relay],
    shown: Callable[[str], str],
    make_due: Callable[[str], None],
    timer_strikes: Callable[[str], bool],
    issued: Callable[[], int],
) -> None:
    relay, before, count = relays[RELAY], shown(RELAY), issued()
    in_use = relay.host.check_output(_IN_USE)
    make_due(RELAY)
    assert not timer_strikes(RELAY)
    status = relay.host.run(f"journalctl --sync; systemctl status --no-pager --full {_UNIT}").stdout
    assert "FAILED: the new certificate does not work: port 587 has no handshake" in status
    assert "the certificate in use stays, and holds until" in status
    assert (relay.host.check_output(_IN_USE), shown(RELAY)) == (in_use, before)
    kept = relay.host.check_output(f"openssl x509 -in {_KEPT}/fullchain.pem -noout -fingerprint -sha256")
    # The next look tries what the authority has issued already.
    shut()
    assert timer_strikes(RELAY)
    assert shown(RELAY) == kept.rpartition("=")[2].replace(":", "").lower()
    assert issued() == count + 1
    assert not relay.host.file(_KEPT).exists


@pytest.fixture
def drained(relays: dict[str, Relay]) -> Iterator[Callable[[], None]]:
    """Has relay1 drained, by the steps of drain.yml; until it is called."""
    host = relays[RELAY].host
    host.check_output("echo '{}' > /etc/postroad/drained.json")
    host.check_output("systemctl stop --job-mode=ignore-dependencies relay-agent.socket")
    host.check_output("systemctl reload relay-agent.service")

    def serve() -> None:
        host.check_output(
            "rm -f /etc/postroad/drained.json && systemctl restart relay-agent.socket relay-agent.service"
        )

    yield serve
    if host.file("/etc/postroad/drained.json").exists:
        serve()


def test_a_drained_relay_has_its_certificate_renewed_and_proves_it_when_it_takes_mail(
    drained: Callable[[], None],
    certificate: Callable[[str], dict[str, Any]],
    shown: Callable[[str], str],
    make_due: Callable[[str], None],
    timer_strikes: Callable[[str], bool],
    said: Callable[[str, str], list[dict[str, Any]]],
    issued: Callable[[], int],
) -> None:
    count = issued()
    make_due(RELAY)
    assert timer_strikes(RELAY)
    found = certificate(RELAY)
    assert found["good"]
    assert said(RELAY, "certificate_renewed")[-1]["proved"] == []
    assert "this host is drained" in found["renewals"]["unproved"]
    drained()
    assert timer_strikes(RELAY)
    assert shown(RELAY) == found["sha256"]
    assert 587 in said(RELAY, "certificate_proved")[-1]["proved"]
    assert issued() == count + 1


@pytest.fixture
def put_out_of_service(play: Callable[..., Run], relays: dict[str, Relay]) -> Iterator[Callable[[], Run]]:
    """Has relay1 drained by drain.yml; until it is called, which runs undrain.yml."""
    options = (f"--limit={RELAY}", f"--inventory={CHECKOUT / 'molecule/tls/inventory'}")
    drain = play("drain", *options)
    assert drain.status == 0, drain.output
    yield lambda: play("undrain", *options)
    if relays[RELAY].host.file("/etc/postroad/drained.json").exists:
        play("undrain", *options)


def test_undrain_proves_what_was_renewed_meanwhile_and_the_relay_says_so_at_once(
    put_out_of_service: Callable[[], Run],
    relays: dict[str, Relay],
    certificate: Callable[[str], dict[str, Any]],
    shown: Callable[..., str],
    make_due: Callable[[str], None],
    timer_strikes: Callable[[str], bool],
    issued: Callable[[], int],
) -> None:
    host, count, before = relays[RELAY].host, issued(), certificate(RELAY)
    make_due(RELAY)
    assert timer_strikes(RELAY)
    drained = certificate(RELAY)
    assert (drained["good"], issued()) == (True, count + 1)
    assert drained["sha256"] != before["sha256"]
    assert "no port has shown it yet: this host is drained" in host.check_output("relay-agent certificate show")
    undrain = put_out_of_service()
    assert undrain.status == 0, undrain.output
    found = certificate(RELAY)
    assert (found["good"], found["sha256"], found["renewals"]["unproved"]) == (True, drained["sha256"], "")
    # No look of the timer has been there in between: that of undrain.yml is enough.
    assert found["renewals"]["looked"] == drained["renewals"]["looked"]
    assert "no port has shown it yet" not in host.check_output("relay-agent certificate show")
    assert {port: shown(RELAY, port) for port in LISTENERS} == dict.fromkeys(LISTENERS, drained["sha256"])
    assert issued() == count + 1

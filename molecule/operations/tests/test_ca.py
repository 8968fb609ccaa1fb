# SPDX-License-Identifier: GPL-3.0-or-later
"""rotate_ca.yml: no relay shows a certificate that people were not given the authority for."""

import smtplib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.topology import Lab
from traffic.fixtures import STATE
from traffic.operator import Run
from traffic.relays import Relay

AUTHORITY = STATE / "private_ca"
RELAYS = ["relay1", "relay2"]
Stages = dict[str, Run]


@pytest.fixture(scope="module")
def pids(relays: dict[str, Relay]) -> dict[str, int]:
    """The agents' main processes before the rotation."""
    return {name: relay.main_pid() for name, relay in relays.items()}


@pytest.fixture(scope="module")
def handed_out(pids: dict[str, int], play: Callable[..., Run]) -> dict[str, str]:
    """What people are given, after each stage."""
    files = {"before": (AUTHORITY / "ca.pem").read_text()}
    for stage, wait in (("prepare", 14), ("switch", 0), ("finish", 14)):
        told = play("rotate_ca", check=True, rotate_ca_stage=stage, rotate_ca_wait_days=wait)
        assert told.status == 0, told.output
        assert told.changes
        assert (AUTHORITY / "ca.pem").read_text() == list(files.values())[-1]
        if stage == "switch":
            early = play("rotate_ca", rotate_ca_stage=stage)
            assert early.status != 0
            assert "people have 14 days to install it" in early.output
        done = play("rotate_ca", rotate_ca_stage=stage, rotate_ca_wait_days=wait)
        assert done.status == 0, done.output
        assert done.changes == told.changes
        files[stage] = (AUTHORITY / "ca.pem").read_text()
    return files


def test_both_are_handed_out_before_one_signs(handed_out: dict[str, str]) -> None:
    assert handed_out["prepare"].startswith(handed_out["before"])
    new = handed_out["prepare"].removeprefix(handed_out["before"])
    assert handed_out["switch"] == new + handed_out["before"]
    assert handed_out["finish"] == new


@pytest.mark.parametrize("stage", ["prepare", "finish"])
@pytest.mark.parametrize("relay", RELAYS)
def test_who_has_both_verifies_every_relay(
    relay: str, stage: str, handed_out: dict[str, str], lab: Lab, tmp_path: Path
) -> None:
    assert handshake(lab, relay, handed_out[stage], tmp_path)


@pytest.mark.parametrize("relay", RELAYS)
def test_who_has_the_old_one_alone_does_not(relay: str, handed_out: dict[str, str], lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(lab, relay, handed_out["before"], tmp_path)


@pytest.mark.parametrize("relay", RELAYS)
def test_the_agent_goes_on(
    relay: str,
    handed_out: dict[str, str],
    pids: dict[str, int],
    relays: dict[str, Relay],
    sign_in: Callable[..., smtplib.SMTP],
    passwords: dict[str, str],
) -> None:
    assert relays[relay].main_pid() == pids[relay]
    sign_in(relay, "alice", passwords["alice"]).quit()


def test_one_key_is_left(handed_out: dict[str, str]) -> None:
    assert sorted(path.name for path in AUTHORITY.glob("*.key")) == ["ca.key"]
    assert (AUTHORITY / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_misspelt_variable_is_refused(handed_out: dict[str, str], play: Callable[..., Run]) -> None:
    refused = play("rotate_ca", rotate_ca_stgae="prepare")
    assert refused.status != 0
    assert "did you mean rotate_ca_stage?" in refused.output
    assert (AUTHORITY / "ca.pem").read_text() == handed_out["finish"]


def handshake(lab: Lab, relay: str, trusted: str, place: Path) -> bool:
    (place / "trusted.pem").write_text(trusted)
    context = ssl.create_default_context(cafile=str(place / "trusted.pem"))
    host = lab.hosts[relay]
    with (
        socket.create_connection((host.address.ipv4, 465), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=host.fqdn) as wrapped,
    ):
        return wrapped.version() is not None

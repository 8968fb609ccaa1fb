# SPDX-License-Identifier: GPL-3.0-or-later
"""Vantages whose answers make no sense: they cost nobody else's report."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.matrix import read_matrix
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import relays_of
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay_agent.probe.attempt import Attempt, End, Shown, Target
from relay_agent.probe.presented import describe
from relay_agent.probe.statement import make_statement
from relay_agent.probe.survey import all_proved
from tests.unit.plugins.issued import issue
from tests.unit.plugins.reach_example import LISTENERS, authority, relays, seen, tried

WHOLE = seen("a")


def matrix(told: Any) -> Any:
    """Of an honest vantage, and of one that says this on the relay."""
    odd = {"item": "odd", "relays": {"a": told}}
    wanted = relays_of(["a"], relays("a"), LISTENERS, [])
    return read_matrix(wanted, [tried("home", a=WHOLE), odd], authority("a"))


@pytest.mark.parametrize(
    "told",
    [
        "attempts",
        7,
        {"attempts": 7},
        {"attempts": ["x"]},
        {"attempts": [{}]},
        {"attempts": [WHOLE[0] | {"end": "well"}]},
        {"attempts": [WHOLE[0] | {"port": float("inf")}]},
        {"attempts": [WHOLE[0] | {"shown": {"problem": "", "der": "!", "version": ""}}]},
        {"attempts": WHOLE[:1]},
    ],
)
def test_what_cannot_be_read_is_said_and_the_others_are_shown(told: Any) -> None:
    read = matrix(told)
    assert read.unknown["a", "odd"].startswith("its answer cannot be read: ")
    assert len(read.at("a", "home")) == 6
    assert read.at("a", "odd") == []


def test_ports_that_nobody_asked_for_are_left_out() -> None:
    read = matrix({"attempts": [*WHOLE, *({**each, "port": 22} for each in WHOLE)]})
    assert {one.port for one in read.at("a", "odd")} == {587, 465, 443}
    assert read.unknown == {}


def test_a_reason_without_end_is_cut() -> None:
    assert len(matrix({"problem": "x" * 9999}).unknown["a", "odd"]) == 300


def speaking(chain: bytes, key: bytes, at: float) -> Attempt:
    """A try at which somebody showed this certificate, that the vantage trusts, and signed a statement."""
    der = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    target = Target("a.test", "ipv4", "192.0.2.1", 587, "greeting")
    text = make_statement("a.test", [(587, "starttls")], chain, key, at)
    return describe(Attempt(target, End.SPOKE, shown=Shown("", der, "TLSv1.3"), statements=[text]))


def test_whom_a_vantage_trusts_does_not_speak_for_the_relay_where_its_authority_is_known(tmp_path: Path) -> None:
    now, found = time.time(), []
    for name, at in (("fleet", now - 60), ("company", now)):
        authority = PrivateCa.make([], datetime.now(UTC))
        issue(authority, tmp_path / name, ["a.test"])
        chain, key = (tmp_path / name / "chain").read_bytes(), (tmp_path / name / "key").read_bytes()
        found.append(speaking(chain, key, at))
        (tmp_path / name / "ca").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    keys = [each.certificate.key for each in found if each.certificate]
    decided = all_proved(found, (), (tmp_path / "fleet/ca").read_bytes())
    assert [one.key for one in decided] == keys[:1]
    assert [one.key for one in all_proved(found, (), b"")] == keys[::-1]

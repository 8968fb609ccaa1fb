# SPDX-License-Identifier: GPL-3.0-or-later
"""The probes of `verify.yml` (`module_utils/mail_programs.py`) get on with every kind of port."""

from __future__ import annotations

import secrets
from email.utils import formatdate
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.mail_programs import (
    PROGRAMS,
    Probe,
    ProbeFailedError,
    submit,
)

from .conftest import ONLY_PASSWORD, Relay
from .letter import WAYS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("listener", "tls"), WAYS)
def test_a_probe_arrives(program: str, listener: str, tls: str, relay: Relay, tmp_path: Path) -> None:
    way = relay.way(listener, tls, account=ONLY_PASSWORD)
    recipient = f"{secrets.token_hex(6)}@beta.test"
    probe = Probe(
        host=way.host,
        port=way.port,
        tls=tls,
        message_id=f"<{recipient}>",
        sender="alice@alpha.test",
        recipient=recipient,
        account=way.account,
        password=way.password,
        ca_file=way.authority,
    )
    reply, _ = submit(program, probe, tmp_path, formatdate())
    assert reply.startswith("250 2.0.0 ")
    (arrived,) = relay.next_hop.take(recipient)
    assert arrived.message["Message-ID"] == f"<{recipient}>"


@pytest.mark.parametrize("program", PROGRAMS)
def test_another_authority_is_not_trusted(program: str, relay: Relay, tmp_path: Path) -> None:
    way = relay.way("auto", "starttls")
    recipient = "bob@beta.test"
    probe = Probe(
        host=way.host,
        port=way.port,
        tls="starttls",
        message_id="<m@alpha.test>",
        sender="alice@alpha.test",
        recipient=recipient,
        account=way.account,
        password=way.password,
        ca_file=str(relay.stranger),
    )
    with pytest.raises(ProbeFailedError):
        submit(program, probe, tmp_path, formatdate())

# SPDX-License-Identifier: GPL-3.0-or-later
"""rollout.yml and verify.yml where mail programs and browsers share ports, and others are not for everybody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traffic.fixtures import AUTHORITY
from traffic.operator import Run
from traffic.relays import Relay

INVENTORY = f"--inventory={Path(__file__).resolve().parent.parent / 'inventory'}"
LIMIT = 54_321
WAYS = {(80, "starttls"), (443, "implicit"), (465, "implicit"), (587, "starttls")} | {
    (2525, way) for way in ("implicit", "starttls")
}
LEFT_OUT = (
    "port 2465 not probed: only a balancer may use it (proxy_from)",
    "port 8025 not probed: only the relay itself can reach it",
)


@pytest.fixture(scope="module")
def proved(laptop: Any, play: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a playbook that submits, with the authorities that the laptop trusts; back to what was at the end."""
    authorities = tmp_path_factory.mktemp("authorities") / "ca.pem"
    authorities.write_text(laptop.file(AUTHORITY).content_string)

    def run(name: str, **variables: Any) -> Run:
        return play(name, INVENTORY, relay_verify_ca_file=str(authorities), **variables)

    yield run
    assert play("site", INVENTORY).status == 0


def test_a_change_is_rolled_out(proved: Callable[..., Run], relays: dict[str, Relay]) -> None:
    done = proved("rollout", relay_agent_policy={"messages_per_hour": LIMIT, "recipients_per_hour": LIMIT})
    assert done.status == 0, done.output
    for name, relay in relays.items():
        assert f"messages_per_hour = {LIMIT}" in relay.host.check_output("cat /etc/postroad/agent.toml")
        for words in LEFT_OUT:
            assert f"{name}: {words}" in done.output


def test_every_port_carries_mail(proved: Callable[..., Run], relays: dict[str, Relay], tmp_path: Path) -> None:
    report = tmp_path / "rows.json"
    done = proved("verify", relay_verify_report=str(report))
    assert done.status == 0, done.output
    rows = json.loads(report.read_text())
    for name in relays:
        assert {(row["port"], row["tls"]) for row in rows if row["host"].startswith(f"{name}.")} == WAYS

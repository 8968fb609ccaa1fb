# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of relay1 with mail in its queue is restored on a host on which nothing of Postroad is left."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traffic.fixtures import STATE
from traffic.relays import Relay

_COUNT = 150
_BACKUPS = STATE / "backups"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What one test found out for the next."""
    return {}


def _backup() -> Path:
    (archive,) = _BACKUPS.glob("relay1-*.tar")
    return archive


def test_backup_while_the_agent_runs(
    play: Callable[..., Any],
    mail_host: Callable[[str], None],
    submit_many: Callable[..., list[str]],
    relays: dict[str, Relay],
    made: dict[str, Any],
) -> None:
    mail_host("stop")
    submit_many("relay1", "backup", _COUNT)
    host = relays["relay1"].host
    made["key"] = host.check_output("relay-agent dkim new alpha.test --json")
    made["keys"] = host.check_output("cd /etc/postroad/dkim && find . -type f | sort | xargs sha256sum")
    made["certificate"] = host.check_output("sha256sum < /etc/postroad/tls/fullchain.pem")
    made["accounts"] = host.check_output("sha256sum < /etc/postroad/accounts.toml")
    pid = relays["relay1"].main_pid()
    run = play("backup", "relay1", relay_backup_directory=str(_BACKUPS))
    assert run.status == 0, run.output
    assert relays["relay1"].main_pid() == pid
    assert _backup().stat().st_mode & 0o777 == 0o600
    assert host.run("ls -d /var/lib/postroad/queue/copying-*").rc != 0, "nothing is left of it on the host"


def test_decommissioned_nothing_is_left(play: Callable[..., Any], relays: dict[str, Relay]) -> None:
    assert play("drain", "relay1", relay_drain_patience=0).status != 0
    run = play("decommission", "relay1", relay_decommission_discard_mail=True)
    assert run.status == 0, run.output
    host = relays["relay1"].host
    left = host.run(
        "ls -d /etc/postroad /opt/postroad /var/lib/postroad /usr/local/bin/relay-agent"
        " /etc/systemd/system/relay-agent* /etc/systemd/system/postroad*"
    ).stdout
    assert left == ""
    assert host.run("nft list table inet postroad").rc != 0
    assert host.run("id postroad").rc != 0
    assert play("decommission", "relay1").status == 0, "a second time there is nothing to do"


def test_restore_on_the_fresh_host(
    play: Callable[..., Any], relays: dict[str, Relay], count: Callable[[str], int], made: dict[str, Any]
) -> None:
    run = play("restore", "relay1", relay_restore_file=str(_backup()))
    assert run.status == 0, run.output
    host = relays["relay1"].host
    assert host.check_output("cd /etc/postroad/dkim && find . -type f | sort | xargs sha256sum") == made["keys"]
    assert host.check_output("sha256sum < /etc/postroad/tls/fullchain.pem") == made["certificate"]
    assert host.check_output("sha256sum < /etc/postroad/accounts.toml") == made["accounts"]
    assert count("relay1") == _COUNT


def test_restored_again_nothing_comes_twice(play: Callable[..., Any], count: Callable[[str], int]) -> None:
    run = play("restore", "relay1", relay_restore_file=str(_backup()))
    assert run.status == 0, run.output
    assert count("relay1") == _COUNT


def test_each_message_arrived_once(
    mail_host: Callable[[str], None],
    relays: dict[str, Relay],
    wait_for_count: Callable[..., int],
    arrived: Callable[[str, int], Counter[str]],
) -> None:
    mail_host("start")
    relays["relay1"].retry()
    assert wait_for_count("relay1", 0) == 0
    found = arrived("backup", _COUNT)
    assert len(found) == _COUNT
    assert set(found.values()) == {1}


def test_the_report_of_the_counts(relays: dict[str, Relay]) -> None:
    found = json.loads(relays["relay1"].host.check_output("relay-agent queue count --json"))
    assert (found["messages"], found["leaving"]) == (0, 0)

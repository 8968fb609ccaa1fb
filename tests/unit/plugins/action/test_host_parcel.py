# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions host_parcel and queue_state in a playbook, and the modules beside them, with an agent of a few lines."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.machine import Machine, Play

# Knows what the modules ask it for. Whether it is drained it says by the file, as the agent does.
_AGENT = """#!/bin/sh
case "$*" in
    *count*) echo '{"messages": 4, "recipients": 5, "held": 4, "leaving": 0}' ;;
    status*) [ -e /etc/postroad/drained.json ] && drained='"drained": {},'; echo "{$drained \\"reloading\\": false}" ;;
    *retry*) echo '{"recipients": 5}' ;;
    *unpack*) cp "$3" /opt/postroad/taken; echo '{"messages": 4, "known": 0, "before": []}' ;;
    *pack*) echo mail > "$4"; echo '{"messages": 4, "recipients": 5, "entries": ["A"], "bytes": 5}' ;;
    *handed-over*) echo '{"messages": 4}' ;;
esac
"""
_SETUP = f"""
mkdir -p /opt/postroad/current/bin /etc/postroad/dkim
cat > /opt/postroad/current/bin/relay-agent <<'END'
{_AGENT}END
chmod 755 /opt/postroad/current/bin/relay-agent
echo key > /etc/postroad/dkim/key.pem
systemctl start relay-agent.socket relay-agent.service
id postroad || useradd --system postroad
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the controller keeps what it gets."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def play(shared_machine: Machine, files: Path) -> Play:
    """One playbook, since each start of Ansible takes its second."""

    def parcel(name: str, step: str, file: str = "mail.tar", **more: Any) -> dict[str, Any]:
        arguments = {"step": step, "file": str(files / file), **more.pop("arguments", {})}
        return {"name": name, "postroad.relay.host_parcel": arguments, **more}

    shared_machine.sh(_SETUP)
    return shared_machine.play(
        [
            parcel("in service", "take"),
            {"name": "planned", "postroad.relay.agent_drain": {}, "check_mode": True},
            {"name": "drained", "postroad.relay.agent_drain": {"because": "new host"}},
            {"name": "again", "postroad.relay.agent_drain": {}},
            {"name": "waiting", "postroad.relay.queue_state": {"until_empty": True, "patience": 1}},
            {"name": "required", "postroad.relay.queue_state": {"required": True}},
            parcel("planned take", "take", "planned.tar", check_mode=True),
            parcel("taken", "take"),
            parcel("given", "give"),
            parcel("forgotten", "forget", arguments={"entries": ["A"]}),
            parcel("saved", "save", "backup.tar"),
            parcel("as it was", "restore_files", "backup.tar"),
            {"name": "lose", "ansible.builtin.raw": "rm /etc/postroad/dkim/key.pem"},
            parcel("restored", "restore_files", "backup.tar"),
            parcel("mail", "restore_mail", "backup.tar"),
            parcel("missing", "give", "nowhere.tar"),
            {"name": "kept", "postroad.relay.agent_removed": {}},
            {"name": "undrained", "postroad.relay.agent_drain": {"state": "serving"}},
        ]
    )


def test_mail_is_taken_from_a_drained_host_only(play: Play) -> None:
    assert play.results["in service"]["failed"]
    assert "only a drained host" in play.results["in service"]["msg"]


def test_drained_once(play: Play) -> None:
    results = play.results
    assert [results[name]["changed"] for name in ("planned", "drained", "again")] == [True, True, False]
    assert results["planned"]["diff"]["after"] == "drained\n"
    assert results["undrained"]["changed"]


def test_the_progress_is_told_and_what_is_left_is_a_failure_where_it_has_to_be(play: Play) -> None:
    assert "relay.example.org: 4 messages wait, 4 recipients held" in play.output
    assert not play.results["waiting"]["failed"]
    required = play.results["required"]
    assert required["failed"]
    assert required["msg"].startswith("relay.example.org still has 4 messages for 5 recipients, 4 of these held. ")


def test_the_mail_comes_by_the_controller(play: Play, files: Path, shared_machine: Machine) -> None:
    taken, given = play.results["taken"], play.results["given"]
    assert (taken["messages"], taken["entries"]) == (4, ["A"])
    assert (files / "mail.tar").read_text() == "mail\n"
    assert (files / "mail.tar").stat().st_mode & 0o777 == 0o600
    assert given["changed"]
    assert shared_machine.path("/opt/postroad/taken").read_text() == "mail\n"
    assert play.results["forgotten"]["messages"] == 4
    assert not (files / "planned.tar").exists()


def test_a_backup_comes_back(play: Play, files: Path, shared_machine: Machine) -> None:
    assert (files / "backup.tar").stat().st_mode & 0o777 == 0o600
    assert play.results["saved"]["files"] == ["etc/dkim/key.pem"]
    assert not play.results["as it was"]["changed"]
    assert play.results["restored"]["files"] == ["/etc/postroad/dkim/key.pem"]
    assert shared_machine.path("/etc/postroad/dkim/key.pem").read_text() == "key\n"
    assert play.results["mail"]["messages"] == 4


def test_a_file_that_is_not_there_is_named(play: Play, files: Path) -> None:
    assert play.results["missing"]["failed"]
    assert str(files / "nowhere.tar") in play.results["missing"]["msg"]


def test_an_agent_with_mail_is_kept(play: Play) -> None:
    assert play.results["kept"]["failed"]
    assert "the host still has 4 messages" in play.results["kept"]["msg"]

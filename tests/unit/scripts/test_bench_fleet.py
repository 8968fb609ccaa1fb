# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of the fleet runs, and what it does not take for a measurement."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bench_fleet
import pytest
from bench_figures import BenchFailedError
from bench_fleet import CHANGE, NOOP_TARGETS, RIVAL, Fleet, changes, rival_playbook, rules_that_shut_out
from streaming import Outcome, Stream

HOSTS = ["relay1", "relay2"]


class ScriptedStream(Stream):
    """Answers every playbook with a recap of the hosts that it is limited to, all with the same count of changes."""

    def __init__(self, *, changed: int = 0, status: int = 0) -> None:
        super().__init__()
        self._changed = changed
        self._status = status
        self.commands: list[list[str]] = []

    def run(
        self, what: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, quiet: bool = False
    ) -> Outcome:
        """See Stream.run."""
        self.commands.append(list(command))
        hosts = command[command.index("--limit") + 1].split(",") if "--limit" in command else []
        counts = f"ok=5 changed={self._changed} unreachable=0 failed=0 skipped=0"
        return Outcome(self._status, 3.5, "".join(f"{host} : {counts}\n" for host in hosts))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench_fleet, "STATE", tmp_path)
    monkeypatch.setattr(bench_fleet, "ROOT", tmp_path)
    monkeypatch.setattr(bench_fleet, "WORK", tmp_path / "work")
    # No SSH connection to end: that of a host which is not there would only take time.
    monkeypatch.setattr(Fleet, "_disconnect", lambda fleet: None)
    groups: dict[str, dict[str, Any]] = {
        group: {"hosts": {f"{name}{number}": {} for number in range(1, 31)}}
        for group, name in (("relays", "relay"), ("mailers", "mailer"))
    }
    specs = tmp_path / "roles/relay_firewall/meta/argument_specs.yml"
    specs.parent.mkdir(parents=True)
    specs.write_text("relay_firewall_ssh:\n")
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.json").write_text(json.dumps({"all": {"children": groups}}))
    return tmp_path


def test_a_change_is_proved_by_probes_either_way() -> None:
    site, verify = changes(CHANGE, HOSTS, rollout=False)
    assert site[3:] == ["playbooks/site.yml", "--limit", "relay1,relay2", "-e", json.dumps(CHANGE)]
    assert verify[3:] == ["playbooks/verify.yml", "--limit", "relay1,relay2"]
    (rollout,) = changes(CHANGE, HOSTS, rollout=True)
    assert rollout[3:] == ["playbooks/rollout.yml", "--limit", "relay1,relay2", "-e", json.dumps(CHANGE)]


def test_the_rival_gets_the_facts_that_its_documentation_has() -> None:
    (play,) = json.loads(rival_playbook("/roles/geerlingguy.postfix"))
    assert play["gather_facts"] is True
    assert play["roles"] == ["/roles/geerlingguy.postfix"]


def test_nothing_to_do_on_one_ten_and_thirty(state: Path) -> None:
    stream = ScriptedStream()
    figures = Fleet(stream).measure(["noop"])
    assert [figure.limit for figure in figures] == list(NOOP_TARGETS.values())
    assert [figure.measured for figure in figures] == [3.5] * 3
    limits = [command[command.index("--limit") + 1].count(",") + 1 for command in stream.commands]
    assert limits == [1, 10, 30]


def test_a_run_that_changed_something_had_something_to_do(state: Path) -> None:
    with pytest.raises(BenchFailedError, match="there was something to do on relay1"):
        Fleet(ScriptedStream(changed=1)).measure(["noop"])


def test_the_rival_is_the_target_of_its_row(state: Path) -> None:
    stream = ScriptedStream()
    (figure,) = Fleet(stream, rival=state / RIVAL).measure(["rival"])
    assert (figure.limit, figure.measured) == (3.5, 3.5)
    assert str(state / RIVAL) in (state / "work/rival.yml").read_text()
    # Its first run is not the one that counts.
    assert [Path(command[3]).name for command in stream.commands] == ["rival.yml", "rival.yml", "site.yml"]


def test_without_the_rival_the_row_says_how_to_get_it(state: Path) -> None:
    (figure,) = Fleet(ScriptedStream(status=1)).measure(["rival"])
    assert figure.measured is None
    assert "--rival DIRECTORY" in figure.remark


def test_rules_that_shut_the_operator_out_must_not_be_taken(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fleet, "fresh_ssh", lambda ssh, host: True)
    with pytest.raises(BenchFailedError, match="taken for good"):
        Fleet(ScriptedStream()).measure(["lockout"])


def test_rules_that_were_refused_locked_nobody_out(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fleet, "fresh_ssh", lambda ssh, host: True)
    monkeypatch.setattr(Fleet, "_unchanged", lambda *arguments: 0.0)
    (figure,) = Fleet(ScriptedStream(status=2)).measure(["lockout"])
    assert figure.measured == 0
    assert figure.remark == "refused before they were loaded"


def test_rules_of_ones_own_have_to_bite(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state / "roles/relay_firewall/meta/argument_specs.yml").write_text("relay_firewall_extra_rules:\n")
    monkeypatch.setattr(bench_fleet, "fresh_ssh", lambda ssh, host: True)
    with pytest.raises(BenchFailedError, match="were not loaded"):
        Fleet(ScriptedStream(status=2)).measure(["lockout"])


def test_ssh_is_dropped_by_what_the_role_takes() -> None:
    assert rules_that_shut_out("relay_firewall_extra_rules:") == {
        "relay_firewall_extra_rules": {"incoming": ["tcp dport 22 drop"]}
    }
    assert "relay_firewall_ssh" in rules_that_shut_out("relay_firewall_ssh:")


def test_without_the_lab_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fleet, "STATE", tmp_path)
    with pytest.raises(BenchFailedError, match="the lab deploy is not there"):
        Fleet(ScriptedStream()).measure(["noop"])

# SPDX-License-Identifier: GPL-3.0-or-later
"""What ran before comes back: when told, when the time is over, and at a start, by a program of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.snapshot import Snapshot
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET, Units
from ansible_collections.postroad.relay.plugins.module_utils.trial import BOOT_UNIT, Trial, TrialError

UP = "Id=relay-agent.socket\nActiveState=active\n\nId=relay-agent.service\nActiveState=active\n"
# Stands for systemd and for the agent's command, for the program that runs by itself.
SYSTEMCTL = f"""#!/bin/sh
echo "$*" >> "$0.calls"
case "$1" in show) printf '{UP}' ;; reload) exit 1 ;; esac
"""


class Host:
    """Two releases, a configuration, units; what is asked of systemd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.schemas = {"aaaaaaaa": 2, "bbbbbbbb": 2}
        self.up = True
        self.armed: list[str] = []
        for release in ("aaaaaaaa", "bbbbbbbb"):
            (root / "opt/releases" / release).mkdir(parents=True)
            (root / "opt/releases" / release / "release.json").write_text("{}")
        self.units = root / "units"
        self.units.mkdir()
        self.files = [root / "agent.toml", self.units / SERVICE, self.units / SOCKET]
        self.write("old")
        self.store = ReleaseStore(root / "opt", root / "bin/relay-agent")
        self.store.switch("aaaaaaaa")
        self.trial = Trial(root / "opt/trial", self.store, Units(self), self, self.units)

    def write(self, text: str, *files: Path) -> None:
        for file in files or self.files:
            file.write_text(text)

    def __call__(self, args: list[str]) -> tuple[int, str, str]:
        what = args[1] if args[0] == "systemctl" else Path(args[0]).name
        if "relay-agent-put-back.timer" in args:
            what = "disarm"
        if what == "relay-agent" and "downgrade" in args:
            what = "downgrade"
        if what == "relay-agent":
            return 1, "", ""
        if what == "python":
            return 0, f"{self.schemas[Path(args[0]).parts[-3]]}\n", ""
        if what == "systemd-run":
            self.armed = args
        if what != "show":
            self.calls.append(what)
        if what == "stop":
            self.up = False
        if what in self.failing:
            return 1, "", "refused\n"
        if what == "restart":
            self.up = True
        return 0, UP if self.up else "", ""

    def begin(self, seconds: int | None = 300) -> None:
        Snapshot.take(self.trial.part("release"), "aaaaaaaa", self.files)
        self.trial.begin(["release"], seconds=seconds, notes={"before": {"x": 1}})
        self.calls.clear()

    def change(self) -> None:
        self.write("new", self.files[0])
        self.store.switch("bbbbbbbb")

    def is_as_before(self) -> bool:
        return {file.read_text() for file in self.files} == {"old"} and self.store.current() == "aaaaaaaa"

    def traces(self) -> list[str]:
        """What a trial leaves behind: nothing."""
        found = [*self.root.glob("opt/trial*"), *self.units.rglob(BOOT_UNIT)]
        return [str(path) for path in found]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    from ansible_collections.postroad.relay.plugins.module_utils import live_reload, systemd_units

    assert live_reload
    monkeypatch.setattr(systemd_units, "_RELOADS_WITHIN", 0.0)
    return Host(tmp_path)


def test_it_is_put_back_when_told(host: Host) -> None:
    host.begin()
    host.change()
    host.failing = {"reload"}
    assert host.trial.put_back() == "Release aaaaaaaa and its configuration were put back; the agent runs."
    assert host.is_as_before()
    assert host.traces() == []
    # What is on trial may be too broken to be reloaded.
    assert host.calls == ["reload", "reset-failed", "restart", "disarm"]


def test_other_units_ask_for_more_than_a_reload(host: Host) -> None:
    host.begin()
    host.write("new")
    host.trial.put_back()
    assert host.is_as_before()
    assert host.calls == ["daemon-reload", "reset-failed", "stop", "start", "restart", "disarm"]


def test_an_agent_that_was_told_nothing_is_not_bothered(host: Host) -> None:
    host.begin()
    host.change()
    assert host.trial.put_back(told=False)
    assert host.calls == ["disarm"]


def test_where_nothing_changed_nothing_is_done(host: Host) -> None:
    host.begin()
    assert host.trial.put_back() == ""
    assert host.calls == ["disarm"]
    assert host.traces() == []


def test_before_the_agent_starts_files_are_enough(host: Host) -> None:
    host.begin()
    host.change()
    assert host.trial.put_back(booting=True) == "Release aaaaaaaa and its configuration were put back."
    assert host.is_as_before()
    assert host.calls == ["disarm"]


def test_what_ends_well_stays(host: Host) -> None:
    host.begin()
    assert host.trial.pending
    host.change()
    host.trial.end()
    assert not host.trial.pending
    assert host.store.current() == "bbbbbbbb"
    assert host.traces() == []
    with pytest.raises(TrialError, match="as nobody confirmed it"):
        host.trial.record()


def test_what_is_noted_is_there_later(host: Host) -> None:
    host.begin()
    host.trial.note(applied={"release": "bbbbbbbb"})
    record = host.trial.record()
    assert record["before"] == {"x": 1}
    assert record["applied"] == {"release": "bbbbbbbb"}
    assert host.trial.directory.stat().st_mode & 0o777 == 0o700


def test_without_a_timer_there_is_no_trial(host: Host) -> None:
    host.failing = {"systemd-run"}
    with pytest.raises(TrialError, match=r"timer .* could not be set: refused"):
        host.begin()
    assert host.traces() == []


def test_what_cannot_be_put_back_stays_on_trial_for_the_next_start(host: Host) -> None:
    host.begin()
    host.change()
    host.failing = {"reload", "restart"}
    with pytest.raises(TrialError, match="putting back what ran before failed, too: systemctl restart"):
        host.trial.put_back()
    assert host.trial.pending
    assert (host.units / "sysinit.target.wants" / BOOT_UNIT).resolve() == host.units / BOOT_UNIT


def newer_queue(host: Host) -> None:
    """The change on trial has taken the queue forward."""
    host.schemas = {"aaaaaaaa": 1, "bbbbbbbb": 2}
    host.begin()
    host.change()


def test_where_the_queue_cannot_be_brought_back_the_change_runs_on_whole(host: Host) -> None:
    newer_queue(host)
    host.failing = {"downgrade"}
    with pytest.raises(TrialError, match=r"(?s)failed, too: .* started again.*\nThe change is still on trial; .*every"):
        host.trial.put_back()
    assert host.calls == ["stop", "downgrade", "reset-failed", "stop", "start", "restart"]
    assert host.up
    assert host.store.current() == "bbbbbbbb"
    assert host.files[0].read_text() == "new"
    assert host.trial.pending
    host.failing = set()
    host.calls.clear()
    assert host.trial.put_back() == "Release aaaaaaaa and its configuration were put back; the agent runs."
    assert host.is_as_before()
    assert host.up
    assert host.calls == ["stop", "downgrade", "reset-failed", "stop", "start", "restart", "disarm"]


def test_files_that_cannot_be_written_leave_the_change_running(host: Host) -> None:
    newer_queue(host)
    (host.trial.part("release") / "0000").unlink()
    with pytest.raises(TrialError, match="The agent runs"):
        host.trial.put_back()
    assert host.up
    assert host.store.current() == "bbbbbbbb"
    assert host.files[0].read_text() == "new"


def test_an_agent_that_is_down_is_started_although_nothing_changed(host: Host) -> None:
    host.begin()
    host.up = False
    assert "the agent runs" in host.trial.put_back()
    assert host.calls == ["reset-failed", "stop", "start", "restart", "disarm"]


def test_the_timer_goes_on_until_it_is_stopped(host: Host) -> None:
    host.begin(seconds=45)
    assert {"--on-active=45", "--on-unit-inactive=600"} <= set(host.armed)


def test_at_a_start_the_queue_is_brought_back_without_a_word_to_systemd(host: Host) -> None:
    newer_queue(host)
    assert host.trial.put_back(booting=True)
    assert host.calls == ["downgrade", "disarm"]
    assert host.is_as_before()


def test_a_start_that_cannot_put_back_starts_the_change_and_sets_the_timer(host: Host) -> None:
    newer_queue(host)
    host.failing = {"downgrade"}
    with pytest.raises(TrialError, match=r"still on trial; .* when its time is over"):
        host.trial.put_back(booting=True)
    assert host.calls == ["downgrade", "disarm", "systemd-run"]
    assert {"--on-active=600", "--timer-property=DefaultDependencies=no", "--no-block"} <= set(host.armed)
    assert host.store.current() == "bbbbbbbb"
    assert host.files[0].read_text() == "new"
    host.failing = {"downgrade", "systemd-run"}
    with pytest.raises(TrialError, match="by itself when it starts anew"):
        host.trial.put_back(booting=True)


def test_of_a_way_back_that_has_no_time_nothing_is_promised(host: Host) -> None:
    host.schemas = {"aaaaaaaa": 1, "bbbbbbbb": 2}
    host.begin(seconds=None)
    host.change()
    host.failing = {"downgrade"}
    with pytest.raises(TrialError) as caught:
        host.trial.put_back()
    assert "by itself" not in str(caught.value)


def test_only_a_trial_with_a_time_has_a_timer_and_a_unit(host: Host) -> None:
    host.begin(seconds=None)
    assert host.trial.pending
    assert list(host.units.rglob(BOOT_UNIT)) == []
    host.trial.end()
    assert host.calls == []


def alone(host: Host, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the program as the timer and the unit do, with the host's own Python and nothing of the checkout."""
    programs = host.root / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "systemctl").chmod(0o755)
    program = host.trial.directory / "put-back.pyz"
    command = [sys.executable, "-I", str(program), *options, str(host.trial.directory), str(host.units)]
    environment: dict[str, Any] = {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/", timeout=60)


def test_the_program_puts_back_by_itself(host: Host) -> None:
    host.begin()
    host.change()
    done = alone(host)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Release aaaaaaaa and its configuration were put back; the agent runs.\n"
    assert host.is_as_before()
    assert host.traces() == []
    calls = (host.root / "programs/systemctl.calls").read_text().splitlines()
    assert "reload relay-agent.service" in calls
    assert "restart relay-agent.service" in calls


def test_the_program_starts_nothing_at_a_start(host: Host) -> None:
    host.begin()
    host.change()
    done = alone(host, "--boot")
    assert done.stdout == "Release aaaaaaaa and its configuration were put back.\n"
    assert host.is_as_before()
    assert (host.root / "programs/systemctl.calls").read_text() == "stop relay-agent-put-back.timer\n"


def test_the_program_says_what_it_cannot_do(host: Host) -> None:
    host.begin()
    (host.trial.part("release") / "manifest.json").write_text("{")
    done = alone(host)
    assert done.returncode == 1
    assert "putting back what ran before failed" in done.stderr


def test_the_program_without_a_trial_ends_its_timer(host: Host) -> None:
    host.begin()
    (host.trial.directory / "record.json").unlink()
    done = alone(host)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (host.root / "programs/systemctl.calls").read_text() == "stop relay-agent-put-back.timer\n"
    assert host.traces() == []

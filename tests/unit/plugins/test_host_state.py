# SPDX-License-Identifier: GPL-3.0-or-later
"""What has proved itself is kept, what is on trial comes back, and earlier generations are gone back to."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import managed_files
from ansible_collections.postroad.relay.plugins.module_utils.applied_state import AppliedState
from ansible_collections.postroad.relay.plugins.module_utils.generations import GenerationError
from ansible_collections.postroad.relay.plugins.module_utils.going_back import go_back
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET
from ansible_collections.postroad.relay.plugins.module_utils.trial import TrialError

RELEASES = ("aaaaaaaa", "bbbbbbbb")


class Relay:
    """A host in a directory, with an agent that takes everything up unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.reloads = {"done": 0, "refused": 0, "problems": ["no"]}
        self.refuses = ""
        for release in RELEASES:
            (root / "opt/releases" / release).mkdir(parents=True)
            (root / "opt/releases" / release / "release.json").write_text("{}")
        for name in ("etc/secrets", "etc/tls", "units"):
            (root / name).mkdir(parents=True)
        store = ReleaseStore(root / "opt", root / "bin/relay-agent")
        places = {"etc": root / "etc", "opt": root / "opt", "unit_directory": root / "units", "runtime": root / "run"}
        self.state = HostState(self, store=store, **places)
        for name in (SOCKET, SERVICE):
            (root / "units" / name).write_text("[Unit]\n")

    def __call__(self, args: list[str]) -> tuple[int, str, str]:
        if args[1] == "status":
            return 0, json.dumps({"running": True, "pid": 1, "reloads": self.reloads}), ""
        if args[1] == "show":
            return 0, f"Id={SOCKET}\nActiveState=active\n\nId={SERVICE}\nActiveState=active\n", ""
        self.calls.append(args[1])
        if args[1] == "reload":
            self.reloads["refused" if self.state.config.read_text() == self.refuses else "done"] += 1
        return 0, "", ""

    def runs(self, release: str, config: str, secret: str = "pw") -> AppliedState:
        """Have it run this, however it came to."""
        self.state.config.write_text(config)
        (self.state.secrets / "upstream").write_text(secret)
        self.state.store.switch(release)
        return self.state.state_on_disk(release)

    def proves(self, release: str, config: str, secret: str = "pw") -> int:
        number, _ = self.state.keep(self.runs(release, config, secret))
        self.calls.clear()
        return number

    def now(self) -> tuple[str | None, str, str]:
        secret = (self.state.secrets / "upstream").read_text()
        return self.state.store.current(), self.state.config.read_text(), secret


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    return Relay(tmp_path)


def test_going_back_and_forth_without_a_restart(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one", "pw1")
    relay.proves("bbbbbbbb", "two", "pw2")
    result = go_back(relay.state, "previous", check_mode=False)
    assert result["changed"]
    assert relay.now() == ("aaaaaaaa", "one", "pw1")
    assert "reload" in relay.calls
    assert "restart" not in relay.calls
    assert relay.state.applied.load() == relay.state.state_on_disk("aaaaaaaa")
    assert not relay.state.trial.pending
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now() == ("bbbbbbbb", "two", "pw2")


def test_what_is_in_use_needs_no_going_back(relay: Relay) -> None:
    number = relay.proves("aaaaaaaa", "one")
    assert go_back(relay.state, str(number), check_mode=False) == {"changed": False}
    assert relay.calls == []
    with pytest.raises(GenerationError):
        go_back(relay.state, "previous", check_mode=False)


def test_check_mode_shows_the_way_and_stays(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one\n", "pw1")
    relay.proves("bbbbbbbb", "two\n", "pw2")
    result = go_back(relay.state, "1", check_mode=True)
    assert result["changed"]
    assert "release bbbbbbbb" in result["diff"]["before"]
    assert result["diff"]["after"].endswith("\none\n")
    assert "pw" not in str(result)
    assert relay.now() == ("bbbbbbbb", "two\n", "pw2")
    assert not go_back(relay.state, "2", check_mode=True)["changed"]


def test_what_the_agent_does_not_take_up_is_undone(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("bbbbbbbb", "two")
    relay.refuses = "one"
    with pytest.raises(
        TrialError, match=r"generation 1 was not taken up: .*\nRelease bbbbbbbb .* put back; the agent runs"
    ):
        go_back(relay.state, "previous", check_mode=False)
    assert relay.now() == ("bbbbbbbb", "two", "pw")
    assert relay.state.generations.current() == 2


def test_accounts_stay_when_an_earlier_configuration_comes_back(relay: Relay) -> None:
    relay.state.accounts.write_text("alice, mallory")
    relay.proves("aaaaaaaa", "one")
    relay.state.accounts.write_text("alice")
    relay.proves("bbbbbbbb", "two")
    go_back(relay.state, "previous", check_mode=False)
    assert relay.state.accounts.read_text() == "alice"


def test_a_trial_that_is_put_back_brings_accounts_back_as_well(relay: Relay) -> None:
    relay.state.accounts.write_text("alice")
    relay.proves("aaaaaaaa", "one")
    assert relay.state.begin(relay.state.trial, seconds=300)
    relay.runs("bbbbbbbb", "two", "other")
    relay.state.accounts.write_text("")
    assert relay.state.trial.put_back()
    assert relay.now() == ("aaaaaaaa", "one", "pw")
    assert relay.state.accounts.read_text() == "alice"


def test_going_back_ends_a_trial_first(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.proves("aaaaaaaa", "two")
    relay.state.begin(relay.state.trial, seconds=300)
    relay.runs("bbbbbbbb", "three")
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now()[:2] == ("aaaaaaaa", "one")
    assert not relay.state.trial.pending


def test_what_was_applied_before_there_were_generations_is_the_first(relay: Relay) -> None:
    relay.state.applied.save(relay.runs("aaaaaaaa", "one"))
    assert relay.state.begin(relay.state.undo)
    assert relay.state.generations.current() == 1
    relay.runs("bbbbbbbb", "two")
    relay.state.keep(relay.state.state_on_disk("bbbbbbbb"))
    go_back(relay.state, "previous", check_mode=False)
    assert relay.now()[:2] == ("aaaaaaaa", "one")


def test_where_nothing_ran_there_is_no_trial(relay: Relay) -> None:
    assert not relay.state.begin(relay.state.undo)
    assert not relay.state.undo.pending


def test_the_way_back_leads_to_what_worked_and_not_to_what_a_broken_run_left(relay: Relay) -> None:
    relay.proves("aaaaaaaa", "one")
    relay.state.config.write_text("half-done")
    relay.state.begin(relay.state.undo)
    relay.runs("bbbbbbbb", "two")
    relay.state.undo.put_back()
    assert relay.now()[:2] == ("aaaaaaaa", "one")


def test_other_units_ask_for_a_restart(relay: Relay) -> None:
    changed: list[Any] = [relay.root / "units" / SERVICE]
    relay.state.take_up(changed)
    assert relay.calls == ["daemon-reload", "reset-failed", "restart"]

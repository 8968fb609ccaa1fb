# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a temporary directory: what is written, what is asked of systemd, and the way back."""

import getpass
import grp
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import agent_deployment, managed_files
from ansible_collections.postroad.relay.plugins.module_utils.agent_deployment import (
    Deployment,
    DeploymentError,
    Outcome,
)
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import AgentSettings
from ansible_collections.postroad.relay.plugins.module_utils.applied_state import Action
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET

OLD, NEW = "11111111", "22222222"
UNITS = {SOCKET: "[Socket]\nListenStream=587\n", SERVICE: "[Service]\n"}
ALICE = {"name": "alice", "password": "s3cret"}


class Host:
    """Stands where `AnsibleModule.run_command` stands: systemd, journal and the agent's command, as far as asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.units_up = False
        self.enabled = False
        self.bad_config = False
        self.fails_to_start: set[str] = set()
        self.refuses_reload: set[str] = set()
        self.reloads: dict[str, Any] = {"done": 0, "refused": 0, "problems": ["a port is taken"]}
        self.accounts: list[dict[str, Any]] | None = None
        self.schemas = {OLD: 1, NEW: 1}
        self.agent_says = "reloaded"
        self.disk_full = False

    def __call__(self, args: list[str], data: str | None = None) -> tuple[int, str, str]:
        program, *rest = args
        if program == "systemctl":
            return self._systemctl(rest)
        if program == "journalctl":
            return 0, "cannot bind\n", ""
        if program == "runuser":
            self.calls.append("check-config")
            return (2, "", f"{rest[-1]}: tls: bad\n") if self.bad_config else (0, "", "")
        if program.endswith("/python"):
            return 0, f"{self.schemas[Path(program).parts[-3]]}\n", ""
        if rest[:2] == ["queue", "downgrade"]:
            self.calls.append(f"{Path(program).parts[-3]} writes schema {rest[-1]}")
            if self.disk_full:
                return 1, "", "disk full\n"
        if program == "systemd-run":
            self.calls.append("arm")
            return 0, "", ""
        if rest[0] == "status":
            return (
                (0, json.dumps({"running": True, "pid": 1, "reloads": self.reloads}), "")
                if self.units_up
                else (1, "", "")
            )
        if rest[0] in ("metrics", "queue"):
            return 0, "[]" if rest[0] == "queue" else "postroad_sessions 0\n", ""
        assert rest[:2] == ["account", "sync"]
        return self._sync(json.loads(data or "null"), check="--check" in rest)

    def _systemctl(self, rest: list[str]) -> tuple[int, str, str]:
        if rest[0] == "show":
            state = "active" if self.units_up else "inactive"
            enabled = "enabled" if self.enabled else "disabled"
            block = "Id={}\nActiveState=" + state + "\nUnitFileState=" + enabled + "\n"
            return 0, block.format(SOCKET) + "\n" + block.format(SERVICE), ""
        if rest[1:] == ["relay-agent-put-back.timer"]:
            return 0, "", ""
        self.calls.append(rest[0])
        if rest[0] == "reload":
            self.reloads["refused" if self.current() in self.refuses_reload else "done"] += 1
        self.enabled = self.enabled or rest[0] == "enable"
        if rest[0] == "stop":
            self.units_up = False
        if rest[0] == "restart":
            self.units_up = self.current() not in self.fails_to_start
            return (0, "", "") if self.units_up else (1, "", "Job failed\n")
        return 0, "", ""

    def current(self) -> str:
        return (self.root / "opt/current").readlink().name

    def _sync(self, wanted: list[dict[str, Any]], *, check: bool) -> tuple[int, str, str]:
        changed = wanted != self.accounts
        if not check:
            self.accounts = wanted
            (self.root / "etc/accounts.toml").write_text(json.dumps([entry["name"] for entry in wanted]))
        names = sorted(entry["name"].lower() for entry in wanted) if changed else []
        told = None if check else self.agent_says
        return 0, json.dumps({"changed": changed, "added": names, "updated": [], "removed": [], "agent": told}), ""

    def converge(
        self,
        release: str | None = OLD,
        toml: str = "one",
        *,
        check: bool = False,
        secrets: dict[str, str] | None = None,
        units: dict[str, str] = UNITS,
        accounts: list[dict[str, Any]] | None = None,
        confirm_within: int | None = None,
    ) -> Outcome:
        self.calls.clear()
        settings = AgentSettings(toml=toml, secrets=secrets or {}, accounts=[ALICE] if accounts is None else accounts)
        places = {"etc": self.root / "etc", "opt": self.root / "opt", "unit_directory": self.root / "units"}
        places["runtime"] = self.root / "run"
        return Deployment(
            settings, units, release, self, check_mode=check, confirm_within=confirm_within, **places
        ).converge()

    def state(self) -> dict[str, str]:
        """Every file with its content: what must not change in check mode."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.name != ".last-used"
        }

    def text(self, name: str) -> str:
        return (self.root / name).read_text()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    monkeypatch.setattr(agent_deployment, "USER", grp.getgrgid(os.getgid()).gr_name)
    for release in (OLD, NEW):
        directory = tmp_path / "opt" / "releases" / release
        directory.mkdir(parents=True)
        (directory / "release.json").write_text("{}")
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(agent_deployment, "ReleaseStore", store_in(tmp_path))
    return Host(tmp_path)


def store_in(root: Path) -> Any:
    return lambda opt: ReleaseStore(opt, root / "bin" / "relay-agent")


def test_a_bare_host_gets_everything_once(host: Host) -> None:
    first = host.converge()
    assert first.changed
    assert host.calls == ["check-config", "daemon-reload", "reset-failed", "stop", "start", "restart", "enable"]
    assert host.text("etc/agent.toml") == "one"
    assert (host.root / "opt/current").readlink() == Path("releases") / OLD
    before = host.state()
    second = host.converge()
    assert not second.changed
    assert second.diff == []
    assert host.calls == []
    assert host.state() == before


@pytest.mark.parametrize("prepared", [False, True])
def test_check_mode_tells_and_touches_nothing(host: Host, prepared: bool) -> None:
    if prepared:
        host.converge()
    before = host.state()
    told = host.converge(NEW, "two", check=True, secrets={"u.password": "pw\n"})
    assert told.changed
    assert host.state() == before
    assert host.calls == []
    done = host.converge(NEW, "two", secrets={"u.password": "pw\n"})
    assert [entry["after_header"] for entry in told.diff] == [entry["after_header"] for entry in done.diff]


def test_check_mode_agrees_that_nothing_is_to_do(host: Host) -> None:
    host.converge()
    assert not host.converge(check=True).changed


def test_a_new_configuration_and_a_new_release_are_taken_up_without_a_restart(host: Host) -> None:
    host.converge()
    outcome = host.converge(NEW, "two")
    assert outcome.action.reload
    assert host.calls == ["check-config", "reload"]
    assert host.current() == NEW
    assert host.text("etc/agent.toml") == "two"


def test_another_unit_asks_for_a_restart_and_keeps_the_ports_open(host: Host) -> None:
    host.converge()
    assert host.converge(units=UNITS | {SERVICE: "[Service]\nNice=1\n"}).action.restart
    assert host.calls == ["daemon-reload", "reset-failed", "restart"]


def test_a_reload_that_the_agent_refuses_is_noticed_and_undone(host: Host) -> None:
    host.converge(secrets={"u.password": "old\n"})
    before = host.state()
    host.refuses_reload = {NEW}
    with pytest.raises(
        DeploymentError, match=r"refused the reload: a port is taken\n(.*\n)*Release 11111111 .* put back"
    ):
        host.converge(NEW, "two", secrets={"u.password": "new\n"}, accounts=[ALICE, {"name": "bob", "password": "b0b"}])
    assert host.state() == before
    assert host.calls == ["check-config", "reload", "reload"]


def test_a_trial_leaves_the_record_of_what_has_proved_itself(host: Host) -> None:
    host.converge()
    proved = host.text("opt/applied/state.json"), host.text("opt/generations/history.json")
    outcome = host.converge(NEW, "two", confirm_within=300)
    assert outcome.on_trial
    assert outcome.generation is None
    assert host.calls == ["arm", "check-config", "reload"]
    assert host.text("etc/agent.toml") == "two"
    assert (host.text("opt/applied/state.json"), host.text("opt/generations/history.json")) == proved


def test_a_trial_of_nothing_is_none(host: Host) -> None:
    host.converge()
    before = host.state()
    assert not host.converge(confirm_within=300).on_trial
    assert host.state() == before


def test_a_trial_that_nobody_ended_is_undone_by_the_next_run(host: Host) -> None:
    host.converge()
    before = host.state()
    host.converge(NEW, "two", confirm_within=300)
    host.converge()
    assert host.state() == before


def test_no_trial_where_nothing_runs_yet(host: Host) -> None:
    with pytest.raises(DeploymentError, match=r"site\.yml first"):
        host.converge(confirm_within=300)
    assert not (host.root / "opt/current").is_symlink()


def test_new_ports_are_opened(host: Host) -> None:
    host.converge()
    outcome = host.converge(toml="two", units=UNITS | {SOCKET: "[Socket]\nListenStream=465\n"})
    assert outcome.action.restart_sockets
    assert host.calls.index("daemon-reload") < host.calls.index("stop") < host.calls.index("start")


def test_secrets_only_reload(host: Host) -> None:
    host.converge(secrets={"u.password": "old\n"})
    assert host.converge(secrets={"u.password": "new\n"}).action.reload
    assert host.calls == ["reload"]
    assert not host.converge(secrets={"u.password": "new\n"}).changed


def test_accounts_that_the_agent_takes_up_need_no_reload(host: Host) -> None:
    host.converge()
    outcome = host.converge(accounts=[ALICE, {"name": "bob", "password": "b0b"}])
    assert outcome.changed
    assert not outcome.action.needed
    assert host.calls == []


def test_accounts_that_the_running_agent_did_not_take_up_reload_it(host: Host) -> None:
    host.converge()
    host.agent_says = "no answer in time"
    assert host.converge(accounts=[{"name": "bob", "password": "b0b"}]).action.reload
    assert host.calls == ["reload"]


def test_a_certificate_is_the_business_of_what_installs_it(host: Host) -> None:
    (host.root / "etc/tls").mkdir(parents=True)
    (host.root / "etc/tls/fullchain.pem").write_text("old")
    host.converge()
    (host.root / "etc/tls/fullchain.pem").write_text("new")
    assert not host.converge().changed


@pytest.mark.parametrize(
    ("place", "action"),
    [
        ("etc/agent.toml", Action(reload=True)),
        (f"units/{SERVICE}", Action(restart=True)),
        (f"units/{SOCKET}", Action(restart_sockets=True)),
        ("etc/secrets/u.password", Action(reload=True)),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_what_a_hand_changed_is_put_back_and_taken_up(host: Host, place: str, action: Action, gone: bool) -> None:
    secrets = {"u.password": "pw\n"}
    host.converge(secrets=secrets)
    if gone:
        (host.root / place).unlink()
    else:
        (host.root / place).write_text("by hand")
    told = host.converge(check=True, secrets=secrets)
    done = host.converge(secrets=secrets)
    assert (told.changed, told.diff, told.action) == (done.changed, done.diff, done.action)
    assert done.action == action
    assert "pw\n" not in repr(done)
    assert not host.converge(secrets=secrets).changed


CHANGES: dict[str, dict[str, Any]] = {
    "bare": {},
    "configuration": {"toml": "two"},
    "unit": {"units": UNITS | {SERVICE: "[Service]\nNice=1\n"}},
    "sockets": {"units": UNITS | {SOCKET: "[Socket]\nListenStream=465\n"}},
    "release": {"release": NEW},
    "secret": {"secrets": {"u.password": "new\n"}},
    "no secret": {"secrets": {}},
    "accounts": {"accounts": [ALICE, {"name": "Bob", "password": "b0b"}]},
    "no accounts": {"accounts": []},
}


@pytest.mark.parametrize("change", CHANGES)
def test_check_mode_shows_what_the_run_shows(host: Host, change: str) -> None:
    start: dict[str, Any] = {"secrets": {"u.password": "old\n"}}
    if change != "bare":
        host.converge(**start)
    told = host.converge(**start | CHANGES[change], check=True)
    done = host.converge(**start | CHANGES[change])
    assert (told.changed, told.diff, told.action) == (done.changed, done.diff, done.action)
    assert told.changed is (change != "no accounts")


def test_check_mode_of_a_bare_host_without_accounts(host: Host) -> None:
    told, done = host.converge(accounts=[], check=True), host.converge(accounts=[])
    assert told.diff == done.diff
    assert "an empty list\n" in [entry["after"] for entry in done.diff]


@pytest.mark.parametrize("place", ["etc/agent.toml", "etc/secrets/u.password", "etc/secrets", f"units/{SERVICE}"])
def test_a_wrong_mode_is_shown_and_put_right(host: Host, place: str) -> None:
    secrets = {"u.password": "pw\n"}
    host.converge(secrets=secrets)
    (host.root / place).chmod(0o777)
    told, done = host.converge(check=True, secrets=secrets), host.converge(secrets=secrets)
    assert told.changed
    assert (told.diff, told.action) == (done.diff, done.action)
    assert not done.action.needed
    assert not host.converge(secrets=secrets).changed


def test_no_secret_is_in_what_is_shown(host: Host) -> None:
    outcome = host.converge(secrets={"u.password": "upstream-pw\n"})
    shown = repr(outcome)
    assert "s3cret" not in shown
    assert "upstream-pw" not in shown


def test_an_empty_list_of_accounts_leaves_those_of_the_host(host: Host) -> None:
    host.converge()
    assert not host.converge(accounts=[]).changed
    assert host.accounts == [ALICE]


def test_secrets_that_no_route_names_are_removed(host: Host) -> None:
    host.converge(secrets={"u.password": "pw\n"})
    outcome = host.converge()
    assert outcome.changed
    assert list((host.root / "etc/secrets").iterdir()) == []


def test_a_refused_configuration_changes_nothing(host: Host) -> None:
    host.converge()
    before = host.state()
    host.bad_config = True
    with pytest.raises(
        DeploymentError, match=r"refused by release 22222222; the running agent is untouched:\n.*tls: bad"
    ):
        host.converge(NEW, "two")
    assert host.state() == before
    assert host.calls == ["check-config"]


def test_a_release_that_does_not_start_is_put_back(host: Host) -> None:
    host.converge()
    before = host.state()
    host.fails_to_start = {NEW}
    with pytest.raises(DeploymentError, match=r"Release 11111111 and its configuration were put back; the agent runs"):
        host.converge(NEW, "two", units=UNITS | {SERVICE: "[Service]\nNice=1\n"})
    assert host.state() == before
    assert host.units_up
    host.fails_to_start.clear()
    assert host.converge(NEW, "two").changed
    assert not host.converge(NEW, "two").changed


def test_the_journal_is_shown(host: Host) -> None:
    host.fails_to_start = {OLD}
    with pytest.raises(DeploymentError, match=r"last words:\n  cannot bind"):
        host.converge()


def test_a_first_start_that_fails_leaves_no_units(host: Host) -> None:
    host.fails_to_start = {OLD}
    with pytest.raises(DeploymentError, match="Nothing ran here before"):
        host.converge()
    assert list((host.root / "units").iterdir()) == []
    assert not (host.root / "opt/current").is_symlink()
    assert "disable" in host.calls


def test_a_run_that_broke_off_is_finished_by_the_next(host: Host) -> None:
    host.converge()
    (host.root / "etc/agent.toml").write_text("two")
    outcome = host.converge(toml="two")
    assert outcome.action.reload


def test_without_a_record_what_is_there_is_the_way_back(host: Host) -> None:
    host.converge()
    (host.root / "opt/applied/state.json").unlink()
    host.fails_to_start = {NEW}
    with pytest.raises(DeploymentError, match="were put back"):
        host.converge(NEW, "two")
    assert host.text("etc/agent.toml") == "one"


def test_units_that_do_not_start_at_boot_are_enabled(host: Host) -> None:
    host.converge()
    host.enabled = False
    assert [entry["after"] for entry in host.converge(check=True).diff] == ["starts at boot\n"]
    assert host.converge().changed
    assert host.calls == ["enable"]


def test_no_release_at_all(host: Host) -> None:
    with pytest.raises(DeploymentError, match="agent_release first"):
        host.converge(None)


def test_the_current_release_stays_when_none_is_named(host: Host) -> None:
    host.converge(NEW)
    assert not host.converge(None).changed


def test_an_earlier_release_finds_a_queue_that_it_opens(host: Host) -> None:
    host.schemas = {OLD: 1, NEW: 2}
    host.converge(NEW)
    host.converge(OLD)
    assert host.calls == ["check-config", "stop", f"{NEW} writes schema 1", "reset-failed", "stop", "start", "restart"]
    host.converge(NEW)
    assert not [call for call in host.calls if "schema" in call], "forward, the release does it by itself"


def test_a_release_that_took_the_queue_forward_and_failed_takes_it_back(host: Host) -> None:
    host.schemas = {OLD: 1, NEW: 2}
    host.converge(OLD)
    host.refuses_reload = {NEW}
    with pytest.raises(DeploymentError, match=f"Release {OLD} and its configuration were put back"):
        host.converge(NEW)
    lowered = host.calls.index(f"{NEW} writes schema 1")
    assert host.calls[lowered - 1] == "stop"
    assert host.calls[lowered + 1 :][:4] == ["reset-failed", "stop", "start", "restart"]


def test_an_earlier_release_that_cannot_have_the_queue_leaves_the_newer_one_running(host: Host) -> None:
    host.schemas = {OLD: 1, NEW: 2}
    host.converge(NEW, "two")
    before = host.state()
    host.disk_full = True
    with pytest.raises(DeploymentError, match=r"disk full\nThe agent was started again, with the release and the conf"):
        host.converge(OLD, "one", secrets={"u.password": "pw\n"}, accounts=[{"name": "bob", "password": "b0b"}])
    assert host.units_up
    assert host.current() == NEW
    assert host.state() == before
    host.disk_full = False
    assert host.converge(OLD, "one").changed
    assert host.units_up


def test_files_that_cannot_be_written_leave_the_newer_one_running(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.schemas = {OLD: 1, NEW: 2}
    host.converge(NEW, "two")
    write = managed_files.ManagedFile.write

    def full(file: managed_files.ManagedFile) -> None:
        if file.path.name == "agent.toml":
            raise OSError(28, "No space left on device")
        write(file)

    monkeypatch.setattr(managed_files.ManagedFile, "write", full)
    with pytest.raises(DeploymentError, match=r"No space left on device\nRelease 22222222 .* put back; the agent runs"):
        host.converge(OLD, "one")
    assert host.units_up
    assert host.current() == NEW


def test_accounts_that_a_hand_changed_during_a_trial_stay(host: Host) -> None:
    host.converge(accounts=[ALICE, {"name": "mallory", "password": "m"}])
    host.converge(NEW, accounts=[ALICE, {"name": "mallory", "password": "m"}], confirm_within=300)
    (host.root / "etc/accounts.toml").write_text('["alice"]')
    host.refuses_reload = {OLD}
    host.converge(OLD, accounts=[])
    assert host.text("etc/accounts.toml") == '["alice"]'

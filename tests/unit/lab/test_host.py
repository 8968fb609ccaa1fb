# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine needs for containers with systemd."""

import os
import tomllib
from pathlib import Path

import pytest
from lab import cli
from lab.errors import LabError
from lab.host import Engine, allow_hosts, podman_environment, probe_engine
from lab.progress import Progress

ALL = "000001ffffffffff"
WITHOUT_SYS_RESOURCE = "000001fffeffffff"


def machine(tmp_path: Path, *, unified: bool, capabilities: str) -> Path:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tpython3\nCapEff:\t{capabilities}\n")
    if unified:
        (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory pids\n")
    return tmp_path


def test_an_ordinary_host_has_crun_and_podmans_own_limits(tmp_path: Path) -> None:
    assert probe_engine(machine(tmp_path, unified=True, capabilities=ALL)) == Engine("crun")


def test_the_hybrid_layout_needs_runc(tmp_path: Path) -> None:
    assert probe_engine(machine(tmp_path, unified=False, capabilities=ALL)) == Engine("runc")


def test_limits_stay_below_our_own_where_they_cannot_be_raised(tmp_path: Path) -> None:
    engine = probe_engine(machine(tmp_path, unified=True, capabilities=WITHOUT_SYS_RESOURCE))
    assert [limit.split("=")[0] for limit in engine.ulimits] == ["nofile", "nproc"]
    assert all(int(limit.split(":")[1]) <= 65536 for limit in engine.ulimits)


def test_the_settings_are_those_of_containers_conf() -> None:
    conf = tomllib.loads(Engine("runc", ("nofile=20000:20000",)).containers_conf())
    assert conf["containers"]["default_ulimits"] == ["nofile=20000:20000"]
    assert conf["engine"]["runtime"] == "runc"
    assert conf["network"]["network_backend"] == "netavark"


def test_podman_is_pointed_at_a_file_of_our_own(tmp_path: Path) -> None:
    environment = podman_environment(tmp_path / "conf/containers.conf")
    assert environment == {"CONTAINERS_CONF": str(tmp_path / "conf/containers.conf")}
    assert tomllib.loads((tmp_path / "conf/containers.conf").read_text())["engine"]["runtime"] in ("crun", "runc")


@pytest.fixture
def watchers(tmp_path: Path) -> Path:
    limit = tmp_path / "proc/sys/fs/inotify/max_user_instances"
    limit.parent.mkdir(parents=True)
    limit.write_text("128\n")
    return limit


def test_many_hosts_get_the_inotify_instances_they_need(
    tmp_path: Path, watchers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allow_hosts(40, Progress(), tmp_path)
    raised = int(watchers.read_text())
    # What 44 hosts of one lab beside three small labs were seen to use: 531.
    assert raised > 531
    assert f"raising fs.inotify.max_user_instances to {raised}" in "".join(capsys.readouterr())


def test_a_limit_that_is_high_enough_stays(tmp_path: Path, watchers: Path) -> None:
    watchers.write_text("8192\n")
    allow_hosts(40, Progress(), tmp_path)
    assert watchers.read_text() == "8192\n"


def test_where_the_limit_cannot_be_raised_the_operator_reads_to_what(
    tmp_path: Path, watchers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(LabError, match=r"too low for 40 hosts and cannot be raised here \(Permission denied\): set"):
        allow_hosts(40, Progress(), tmp_path)
    assert watchers.read_text() == "128\n"


@pytest.mark.parametrize("command", [["ensure-host"], ["images"], ["create", "--lab", "up"], ["destroy"]])
def test_without_root_one_line_says_what_to_do(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(command) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "run this as root" in said.err


def test_without_apt_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("lab.host._REQUIRED", {"a-program-that-nobody-has": "some-package"})
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert cli.main(["ensure-host"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "some-package" in said.err

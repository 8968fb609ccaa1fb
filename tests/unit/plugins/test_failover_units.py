# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher's service, put on a host and taken off."""

import getpass
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import managed_files
from ansible_collections.postroad.relay.plugins.module_utils.failover_units import FailoverUnitError, FailoverUnits

TEXT = 'key_secret = "c2VjcmV0"\n'


class Systemd:
    def __init__(self, refuses: str = "nothing") -> None:
        self.asked: list[str] = []
        self.refuses = refuses

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        line = " ".join(args[1:])
        if not line.startswith("is-"):
            self.asked.append(line)
        return (1, "", "it refuses") if line.startswith(self.refuses) else (0, "", "")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    return tmp_path


def test_it_is_put_up_once(root: Path) -> None:
    systemd = Systemd()
    units = FailoverUnits(systemd, TEXT, root)
    assert units.differs()
    assert units.ensure()
    settings = root / "etc/postroad-failover.toml"
    assert settings.read_text() == TEXT
    assert settings.stat().st_mode & 0o777 == 0o600
    assert systemd.asked == [
        "daemon-reload",
        "enable --quiet postroad-failover.service",
        "restart postroad-failover.service",
    ]
    assert not units.differs()
    assert not units.ensure()


def test_no_diff_shows_the_secret(root: Path) -> None:
    for text in (TEXT, TEXT.replace("c2VjcmV0", "b3RoZXI=")):
        units = FailoverUnits(Systemd(), text, root)
        assert "c2VjcmV0" not in str(units.diffs())
        assert "b3RoZXI=" not in str(units.diffs())
        units.ensure()


@pytest.mark.parametrize("state", ["is-enabled", "is-active"])
def test_one_that_was_stopped_by_hand_runs_again(root: Path, state: str) -> None:
    FailoverUnits(Systemd(), TEXT, root).ensure()
    systemd = Systemd(state)
    assert FailoverUnits(systemd, TEXT, root).differs()
    assert FailoverUnits(systemd, TEXT, root).ensure()
    assert systemd.asked[-1] == "restart postroad-failover.service"


def test_it_is_taken_off(root: Path) -> None:
    FailoverUnits(Systemd(), TEXT, root).ensure()
    systemd = Systemd()
    gone = FailoverUnits(systemd, None, root)
    assert gone.differs()
    assert len(gone.diffs()) == 2
    assert gone.ensure()
    assert systemd.asked[0] == "disable --quiet --now postroad-failover.service"
    assert not (root / "etc/postroad-failover.toml").exists()
    assert not gone.differs()
    assert not gone.ensure()


def test_systemd_refuses(root: Path) -> None:
    with pytest.raises(FailoverUnitError, match=r"restart postroad-failover.*it refuses.*site\.yml"):
        FailoverUnits(Systemd("restart"), TEXT, root).ensure()


def test_the_unit_gives_the_settings_to_nobody_else(root: Path) -> None:
    FailoverUnits(Systemd(), TEXT, root).ensure()
    unit = (root / "etc/systemd/system/postroad-failover.service").read_text()
    assert f"StandardInput=file:{root}/etc/postroad-failover.toml" in unit
    assert "DynamicUser=yes" in unit
    assert "{" not in unit

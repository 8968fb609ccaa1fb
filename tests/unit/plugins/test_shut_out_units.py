# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that shuts addresses out, as it is put on a host and taken off."""

import json
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import shut_out_units
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import NftError
from ansible_collections.postroad.relay.plugins.module_utils.shut_out_units import ShutOutUnits, files

SETTINGS = {"after_shut_outs": 3, "after_accounts": 20, "within": 60, "at_most": 60, "never": ["198.51.100.0/24"]}


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
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shut_out_units, "SETTINGS", tmp_path / "settings.json")
    monkeypatch.setattr(shut_out_units, "_UNITS", tmp_path / "units")
    return tmp_path


def test_it_is_put_up_once(places: Path) -> None:
    systemd = Systemd()
    units = ShutOutUnits(systemd, SETTINGS, "postroad")
    assert units.differs()
    assert all(before == "" for before, _ in units.differing().values())
    units.ensure()
    assert json.loads((places / "settings.json").read_text()) == SETTINGS
    assert systemd.asked[0] == "daemon-reload"
    assert systemd.asked[-1].startswith("enable --quiet --now postroad-shut-out.socket")
    assert not units.differs()
    systemd.asked.clear()
    units.ensure()
    assert systemd.asked == ["enable --quiet --now postroad-shut-out.socket postroad-shut-out.service"]


def test_other_settings_begin_it_anew() -> None:
    systemd = Systemd()
    ShutOutUnits(systemd, SETTINGS, "postroad").ensure()
    systemd.asked.clear()
    ShutOutUnits(systemd, SETTINGS | {"within": 61}, "postroad").ensure()
    assert systemd.asked[1].startswith("stop postroad-shut-out.service")


@pytest.mark.parametrize("state", ["is-enabled", "is-active"])
def test_one_that_was_stopped_by_hand_differs(state: str) -> None:
    ShutOutUnits(Systemd(), SETTINGS, "postroad").ensure()
    assert ShutOutUnits(Systemd(state), SETTINGS, "postroad").differs()


def test_it_is_taken_off(places: Path) -> None:
    ShutOutUnits(Systemd(), SETTINGS, "postroad").ensure()
    systemd = Systemd()
    units = ShutOutUnits(systemd, None, "postroad")
    assert units.differs()
    units.ensure()
    assert systemd.asked[0].startswith("disable --quiet --now")
    assert [path for path in places.rglob("*") if path.is_file()] == []
    assert not units.differs()
    systemd.asked.clear()
    units.ensure()
    assert systemd.asked == []


def test_what_systemd_says_is_the_error() -> None:
    with pytest.raises(NftError, match=r"postroad-shut-out\.service could not be set up: it refuses"):
        ShutOutUnits(Systemd("enable"), SETTINGS, "postroad").ensure()


def test_only_the_agent_may_tell_and_there_is_one_privilege() -> None:
    texts = {path.name: text for path, text in files(SETTINGS, "mailer").items()}
    assert "SocketUser=mailer\nSocketMode=0600" in texts["postroad-shut-out.socket"]
    service = texts["postroad-shut-out.service"].splitlines()
    granted = [line for line in service if line.startswith(("AmbientCapabilities", "CapabilityBoundingSet"))]
    assert {line.partition("=")[2] for line in granted} == {"CAP_NET_ADMIN"}
    assert "DynamicUser=yes" in service
    assert "RestrictAddressFamilies=AF_UNIX AF_NETLINK" in service

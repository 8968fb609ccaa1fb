# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw and firewalld: whether they filter, what is open there, and what they are told to open and close."""

import json
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import foreign_filters
from ansible_collections.postroad.relay.plugins.module_utils.foreign_filters import (
    Firewalld,
    ForeignFilterError,
    Ufw,
    active_filters,
)

ADDED = """\
Added user rules (see 'ufw status' for running firewall):
ufw allow 22/tcp
ufw allow 587/tcp comment 'postroad'
ufw allow 8025/tcp comment 'postroad'
ufw allow 51820/udp comment 'vpn of anna'
ufw allow from 198.51.100.0/24 to any port 9100 proto tcp
ufw deny 465/tcp
ufw limit 2525/tcp
"""


class Host:
    """Answers by the start of a command; what is not known succeeds in silence."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        line = " ".join(args)
        self.asked.append(line)
        for start, (status, output) in self.answers.items():
            if line.startswith(start):
                return status, output, "" if status == 0 else "it refuses"
        return 0, "", ""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(foreign_filters, "UFW_SETTINGS", tmp_path / "ufw.conf")
    monkeypatch.setattr(foreign_filters, "FIREWALLD_OURS", tmp_path / "ours.json")
    return tmp_path


def test_a_host_with_neither(files: Path) -> None:
    host = Host({"systemctl is-active": (3, "")})
    assert active_filters(host) == []
    assert host.asked == ["systemctl is-active --quiet firewalld.service"]


@pytest.mark.parametrize("setting", ["ENABLED=yes", 'ENABLED="yes"'])
def test_ufw_that_filters_is_found(files: Path, setting: str) -> None:
    (files / "ufw.conf").write_text(f"# ENABLED=no\n{setting}\nLOGLEVEL=low\n")
    host = Host({"ufw status": (0, "Status: active\n"), "systemctl": (3, "")})
    assert [tool.name for tool in active_filters(host)] == ["ufw"]
    assert not Ufw(Host({"ufw status": (0, "Status: inactive\n")})).active()


def test_ufw_that_is_switched_off_is_not_asked(files: Path) -> None:
    (files / "ufw.conf").write_text("ENABLED=no\n")
    host = Host({})
    assert not Ufw(host).active()
    assert host.asked == []


def test_ufw_s_rules_for_everyone_are_open_and_ours_bear_our_name() -> None:
    ufw = Ufw(Host({"ufw show added": (0, ADDED)}))
    assert ufw.open_ports() == {"22/tcp", "587/tcp", "8025/tcp", "51820/udp"}
    assert ufw.ours() == {"587/tcp", "8025/tcp"}


def test_ufw_is_told() -> None:
    host = Host({})
    Ufw(host).change({"465/tcp"}, {"8025/tcp"})
    assert host.asked == ["ufw allow 465/tcp comment postroad", "ufw --force delete allow 8025/tcp"]
    with pytest.raises(ForeignFilterError, match="ufw is active on this host and could not open 465/tcp: it refuses"):
        Ufw(Host({"ufw allow": (1, "")})).change({"465/tcp"}, ())


def test_firewalld_has_open_what_is_so_now_and_for_ever_in_every_zone() -> None:
    host = Host(
        {
            "firewall-cmd --zone=public --list-ports": (0, "587/tcp 465/tcp 25/tcp\n"),
            "firewall-cmd --permanent --zone=public --list-ports": (0, "587/tcp 465/tcp\n"),
            "firewall-cmd --zone=home": (0, "587/tcp\n"),
            "firewall-cmd --permanent --zone=home": (0, "587/tcp 25/tcp\n"),
            "firewall-cmd --get-default-zone": (0, "public\n"),
        }
    )
    assert Firewalld(host, []).open_ports() == {"587/tcp", "465/tcp"}
    assert Firewalld(host, ["public", "home"]).open_ports() == {"587/tcp"}


def test_firewalld_is_told_and_we_remember(files: Path) -> None:
    host = Host({"firewall-cmd --get-default-zone": (0, "public\n")})
    firewalld = Firewalld(host, [])
    assert firewalld.ours() == set()
    firewalld.change({"587/tcp", "465/tcp"}, ())
    assert host.asked[1:] == [
        "firewall-cmd --zone=public --add-port=465/tcp --add-port=587/tcp",
        "firewall-cmd --permanent --zone=public --add-port=465/tcp --add-port=587/tcp",
    ]
    assert json.loads((files / "ours.json").read_text()) == ["465/tcp", "587/tcp"]
    firewalld.change((), {"465/tcp"})
    assert host.asked[-1] == "firewall-cmd --permanent --zone=public --remove-port=465/tcp"
    assert firewalld.ours() == {"587/tcp"}
    # No reload: it would cost what somebody else has open only until then.
    assert not any("reload" in line for line in host.asked)


def test_firewalld_s_refusal_is_an_error(files: Path) -> None:
    with pytest.raises(ForeignFilterError, match="firewalld is active on this host and refused `--zone=nowhere"):
        Firewalld(Host({"firewall-cmd": (112, "")}), ["nowhere"]).open_ports()

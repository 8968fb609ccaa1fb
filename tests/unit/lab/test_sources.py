# SPDX-License-Identifier: GPL-3.0-or-later
"""The package mirror that images are built from."""

from pathlib import Path

import pytest
from lab.errors import LabError
from lab.sources import Mirror, find_mirror

DEB822 = """
Types: deb
URIs: http://mirror.example/debian
# a comment between the fields
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://switched-off.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://other.example/debian/ bookworm main contrib
deb http://other.example/security bookworm-security main  # with a remark
deb https://vendor.example/product bookworm main
deb-src http://sources.example/debian bookworm main
"""


def machine(tmp_path: Path, *, identifier: str, lists: dict[str, str]) -> Path:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text(f'ID={identifier}\nVERSION_CODENAME="bookworm"\n')
    for name, text in lists.items():
        (tmp_path / "etc/apt" / name).write_text(text)
    return tmp_path


def test_a_debian_host_lends_its_mirror(tmp_path: Path) -> None:
    root = machine(tmp_path, identifier="debian", lists={"sources.list.d/debian.sources": DEB822})
    assert find_mirror(root) == Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")


def test_the_one_line_format_is_read_and_vendors_are_left_out(tmp_path: Path) -> None:
    root = machine(tmp_path, identifier="debian", lists={"sources.list": ONE_LINE})
    assert find_mirror(root) == Mirror("http://other.example/debian", "http://other.example/security")


def test_another_system_is_asked_for_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROAD_DEBIAN_MIRROR", raising=False)
    root = machine(tmp_path, identifier="ubuntu", lists={"sources.list": ONE_LINE})
    with pytest.raises(LabError, match="POSTROAD_DEBIAN_MIRROR="):
        find_mirror(root)
    monkeypatch.setenv("POSTROAD_DEBIAN_MIRROR", "http://named.example/debian/")
    assert find_mirror(root) == Mirror("http://named.example/debian", "http://named.example/debian-security")


def test_a_machine_without_any_sources_is_asked_for_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROAD_DEBIAN_MIRROR", raising=False)
    with pytest.raises(LabError, match="no Debian mirror"):
        find_mirror(tmp_path)


def test_sources_are_for_the_suite_that_is_asked_for() -> None:
    lines = Mirror("http://a.example/debian", "http://a.example/security").sources("trixie").splitlines()
    assert [line.split()[3] for line in lines] == ["trixie", "trixie-updates", "trixie-security"]
    assert all("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in line for line in lines)

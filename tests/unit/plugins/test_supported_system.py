# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay can be put on, and what is said about the rest."""

from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.supported_system import UnsupportedSystem, read_system

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def host(root: Path, os_release: str | None, *, systemd: bool = True) -> Path:
    (root / "etc").mkdir()
    if os_release is not None:
        (root / "etc/os-release").write_text(os_release)
    if systemd:
        (root / "run/systemd/system").mkdir(parents=True)
    return root


@pytest.mark.parametrize("version", ["12", "13"])
def test_debian(tmp_path: Path, version: str) -> None:
    system = read_system(host(tmp_path, BOOKWORM.replace('"12"', f'"{version}"')))
    assert system.glibc.startswith("2.")
    assert system.python.startswith("3.")


@pytest.mark.parametrize(
    "os_release",
    ['PRETTY_NAME="Fedora Linux 42"\nID=fedora\nVERSION_ID=42\n', BOOKWORM.replace('"12"', '"11"'), "", None],
)
def test_others_are_refused_with_what_is_supported(tmp_path: Path, os_release: str | None) -> None:
    with pytest.raises(UnsupportedSystem, match=r"supported are Debian 12 \(bookworm\) and Debian 13 \(trixie\)"):
        read_system(host(tmp_path, os_release))


def test_without_systemd(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSystem, match="without systemd"):
        read_system(host(tmp_path, BOOKWORM, systemd=False))

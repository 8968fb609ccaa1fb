# SPDX-License-Identifier: GPL-3.0-or-later
"""The web server on its host: written only when nginx takes it, started, reloaded, signed for, removed."""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils import managed_files
from ansible_collections.postroad.relay.plugins.module_utils.managed_files import ManagedFile
from ansible_collections.postroad.relay.plugins.module_utils.settings_host import (
    PATH,
    PROFILE_SERVICE,
    SERVICE,
    SettingsError,
    SettingsHost,
    answers,
)
from ansible_collections.postroad.relay.plugins.modules.settings_host import present

UNITS = {SERVICE: "[Service]\n", PROFILE_SERVICE: "[Service]\n", PATH: "[Path]\n"}
ADDRESS = "127.0.0.1:880"


class Systemd:
    """Answers commands, remembers them, and signs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.refuses: dict[str, str] = {}
        self.running: set[str] = set()
        self.signs = True

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        line = " ".join(args)
        self.asked.append(line)
        for words, reason in self.refuses.items():
            if words in line:
                return 1, "", reason
        if args[1] in ("is-active", "is-enabled"):
            return (0 if args[-1] in self.running else 3), "", ""
        if args[1] in ("start", "restart", "enable"):
            self.running |= set(args)
        if args[1:] == ["restart", PROFILE_SERVICE] and self.signs:
            signed = self.root / "run/postroad-profile/postroad.mobileconfig"
            signed.parent.mkdir(parents=True, exist_ok=True)
            signed.write_text("signed")
        return 0, "", ""


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    return Systemd(tmp_path)


@pytest.fixture
def host(systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsHost:
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/postroad/tls/versions/1").mkdir(parents=True)
    (tmp_path / "etc/postroad/tls/current").symlink_to("versions/1")
    return SettingsHost(systemd, root=tmp_path, knock=lambda address: address == ADDRESS)


def wanted(host: SettingsHost, *, configuration: str = "good", profile: str | None = "plist") -> list[ManagedFile]:
    return host.files(configuration, {"mail/config.xml": "<a/>", "reach.json": "{}"}, {"a.xml": "<b/>"}, profile, UNITS)


def put(host: SettingsHost, files: list[ManagedFile], *, signs: bool = True) -> set[str]:
    """What the module does."""
    differing = [file for file in files if file.differs()]
    host.write(host.directories(files), differing, host.superfluous(files))
    waiting = host.not_taken_up(files)
    host.put_to_use(waiting, address=ADDRESS, signs=signs)
    host.taken_up(files).write()
    return {file.path.name for file in differing}


def test_from_nothing_to_pages_that_are_served(host: SettingsHost, systemd: Systemd, tmp_path: Path) -> None:
    files = wanted(host)
    assert all(file.differs() for file in files)
    put(host, files)
    assert (tmp_path / "etc/postroad-settings/pages/mail/config.xml").read_text() == "<a/>"
    assert (tmp_path / "etc/postroad-settings/pages").stat().st_mode & 0o777 == 0o755
    assert "systemctl daemon-reload" in systemd.asked
    assert host.runs(signs=True)
    assert host.is_signed()
    assert not any(file.differs() for file in files)
    assert not any(directory.differs() for directory in host.directories(files))
    assert host.superfluous(files) == []


def test_another_page_disturbs_nobody_and_another_configuration_is_reloaded(
    host: SettingsHost, systemd: Systemd
) -> None:
    put(host, wanted(host))
    systemd.asked.clear()
    assert put(host, wanted(host, configuration="other")) == {"nginx.conf"}
    changes = [line for line in systemd.asked if "is-active" not in line and "enable" not in line]
    assert changes == [f"systemctl reload {SERVICE}", f"systemctl start {PATH}"]


def test_what_a_run_that_broke_off_left_is_taken_up_by_the_next(host: SettingsHost, systemd: Systemd) -> None:
    put(host, wanted(host))
    files = wanted(host, configuration="other")
    systemd.refuses = {f"reload {SERVICE}": "no"}
    with pytest.raises(SettingsError, match="reload"):
        put(host, files)
    assert not any(file.differs() for file in files)
    assert host.not_taken_up(files) == {"nginx.conf"}
    systemd.refuses = {}
    systemd.asked.clear()
    put(host, files)
    assert f"systemctl reload {SERVICE}" in systemd.asked
    assert host.not_taken_up(files) == set()
    assert host.superfluous(files) == []


def test_check_mode_says_that_a_run_broke_off_and_does_nothing(host: SettingsHost, systemd: Systemd) -> None:
    files = wanted(host)
    put(host, files)
    host.taken_up(files).path.unlink()
    systemd.asked.clear()
    params = {"configuration": "good", "profile": "plist", "units": UNITS, "address": ADDRESS}
    params |= {"pages": {"mail/config.xml": "<a/>", "reach.json": "{}"}, "answers": {"a.xml": "<b/>"}}
    module = cast(AnsibleModule, SimpleNamespace(params=params, check_mode=True))
    result = present(module, host, installed=False)
    assert result["changed"] is True
    assert any("(not seen: a run broke off)" in each["before"] for each in result["diff"])
    assert not any(word in line for line in systemd.asked for word in ("restart", "reload", "enable --quiet"))


def test_what_nobody_wants_any_more_goes(host: SettingsHost, systemd: Systemd, tmp_path: Path) -> None:
    put(host, wanted(host))
    stray = tmp_path / "etc/postroad-settings/pages/old/page.html"
    stray.parent.mkdir()
    stray.symlink_to("/etc/passwd")
    files = wanted(host, profile=None)
    assert host.superfluous(files) == [stray, tmp_path / "etc/postroad-settings/profile.plist"]
    put(host, files, signs=False)
    assert not stray.parent.exists()
    assert not (tmp_path / "run/postroad-profile/postroad.mobileconfig").exists()
    assert f"systemctl disable --now --quiet {PATH} {PROFILE_SERVICE}" in systemd.asked


def test_a_signature_is_old_when_certificate_or_profile_are_newer(host: SettingsHost, tmp_path: Path) -> None:
    put(host, wanted(host))
    for path in ("etc/postroad/tls/current", "etc/postroad-settings/profile.plist"):
        assert host.is_signed()
        later = (tmp_path / "run/postroad-profile/postroad.mobileconfig").stat().st_mtime_ns + 10**9
        os.utime(tmp_path / path, ns=(later, later), follow_symlinks=False)
        assert not host.is_signed()
        os.utime(tmp_path / "run/postroad-profile/postroad.mobileconfig", ns=(later, later))


def test_nginx_judges_before_anything_is_in_place(host: SettingsHost, systemd: Systemd) -> None:
    host.check("good")
    assert systemd.asked[0].startswith("nginx -t -q -e stderr -p /")
    systemd.refuses = {"nginx -t": "nginx: [emerg] unknown directive"}
    with pytest.raises(SettingsError, match=r"what was served is served on: nginx: \[emerg\] unknown directive"):
        host.check("bad")


def test_one_that_does_not_answer_is_told(
    systemd: Systemd, host: SettingsHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.postroad.relay.plugins.module_utils.settings_host._ANSWERS_WITHIN", 0.3)
    systemd.refuses = {"journalctl": ""}
    silent = SettingsHost(systemd, root=tmp_path, knock=lambda _: False)
    with pytest.raises(SettingsError, match=f"does not answer at {ADDRESS}"):
        put(silent, wanted(silent))


def test_what_systemd_refuses_and_what_is_not_signed_is_told(host: SettingsHost, systemd: Systemd) -> None:
    systemd.signs = False
    with pytest.raises(SettingsError, match=f"signed nothing: see journalctl -u {PROFILE_SERVICE}"):
        put(host, wanted(host))
    systemd.refuses = {"enable": "it is masked"}
    with pytest.raises(SettingsError, match=f"systemctl enable --quiet {SERVICE}: it is masked"):
        host.put_to_use(set(), address=ADDRESS, signs=True)


def test_all_of_it_can_be_taken_away(host: SettingsHost, tmp_path: Path) -> None:
    put(host, wanted(host))
    planned = host.remove(check_mode=True)
    assert (tmp_path / "etc/postroad-settings").exists()
    assert host.remove(check_mode=False) == planned
    assert len(planned) == 5
    assert not (tmp_path / "etc/postroad-settings").exists()
    assert list((tmp_path / "etc/systemd/system").iterdir()) == []
    assert host.remove(check_mode=False) == []


@pytest.fixture
def web_server() -> Callable[[bytes], tuple[str, list[bytes]]]:
    """Answers one connection; gives its address, and what it was asked."""

    def serve(answer: bytes) -> tuple[str, list[bytes]]:
        listening = socket.create_server(("127.0.0.1", 0))
        asked: list[bytes] = []

        def one() -> None:
            with listening, listening.accept()[0] as connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        threading.Thread(target=one, daemon=True).start()
        return f"127.0.0.1:{listening.getsockname()[1]}", asked

    return serve


@pytest.mark.parametrize(
    ("answer", "good"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True), (b"HTTP/1.1 404 No\r\n\r\n", False), (b"SMTP", False)],
)
def test_a_knock(web_server: Callable[[bytes], tuple[str, list[bytes]]], answer: bytes, good: bool) -> None:
    address, asked = web_server(answer)
    assert answers(address) is good
    assert asked[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\nGET /reach.json ")
    assert not answers(address)

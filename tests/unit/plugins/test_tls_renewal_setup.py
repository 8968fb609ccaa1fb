# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, units and the first run of what renews a certificate on its host."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.tls_renewal_setup import (
    SERVICE,
    TIMER,
    RenewalError,
    RenewalSetup,
    settings_text,
)

from relay_agent.certificates.settings import CertificateSettings

SETTINGS: dict[str, Any] = {
    "names": ["relay.example.org"],
    "directory": "/etc/postroad/tls",
    "renew_before": 30,
    "tlsa": True,
    "acme": {"directory_url": "https://acme.example/dir", "email": "me@example.org", "challenge": "dns"},
    "dns": {"server": "192.0.2.53", "port": 53, "key_name": "relay", "key_algorithm": "hmac-sha256", "ttl": 300},
}
UNITS = {SERVICE: "[Service]\n", TIMER: "[Timer]\n"}


class Host:
    """Answers commands, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: dict[str, tuple[int, str, str]] = {}

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        self.asked.append(args)
        return self.answers.get(args[1], (0, "", ""))


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def setup(host: Host, tmp_path: Path) -> RenewalSetup:
    for name in ("etc", "units"):
        (tmp_path / name).mkdir()
    return RenewalSetup(host, tmp_path / "etc", tmp_path / "units")


def test_the_agent_understands_the_settings() -> None:
    text = settings_text(SETTINGS, "c2VjcmV0", Path("/etc/postroad/certificate-authority.pem"))
    settings = CertificateSettings.model_validate(tomllib.loads(text))
    assert settings.dns is not None
    assert (settings.tlsa, settings.dns.key_secret, settings.dns.ttl) == (True, "c2VjcmV0", 300)
    assert settings.acme.ca_file == Path("/etc/postroad/certificate-authority.pem")


def test_without_a_name_server() -> None:
    text = settings_text({**SETTINGS, "dns": {}, "acme": {**SETTINGS["acme"], "challenge": "http"}}, None, None)
    settings = CertificateSettings.model_validate(tomllib.loads(text))
    assert (settings.dns, settings.acme.ca_file) == (None, None)


def test_the_key_is_root_s_alone_and_in_no_diff(setup: RenewalSetup) -> None:
    files = setup.files(settings_text(SETTINGS, "c2VjcmV0", None), "an authority", UNITS)
    assert [(file.path.name, file.mode) for file in files] == [
        ("certificate.toml", 0o600),
        ("certificate-authority.pem", 0o644),
        (SERVICE, 0o644),
        (TIMER, 0o644),
    ]
    assert "c2VjcmV0" not in repr([file.diff() for file in files])


def test_the_timer_is_started(setup: RenewalSetup, host: Host) -> None:
    setup.start_timer(units_changed=True)
    assert [" ".join(each) for each in host.asked] == [
        "systemctl daemon-reload",
        f"systemctl enable --quiet {TIMER}",
        f"systemctl restart {TIMER}",
    ]
    assert setup.timer_runs()
    host.answers["is-active"] = (3, "", "")
    assert not setup.timer_runs()


def test_systemd_refuses(setup: RenewalSetup, host: Host) -> None:
    host.answers["enable"] = (1, "", "no such unit")
    with pytest.raises(RenewalError, match=rf"systemctl enable --quiet {TIMER}: no such unit"):
        setup.start_timer(units_changed=False)


def test_all_of_it_goes_away_again(setup: RenewalSetup, host: Host, tmp_path: Path) -> None:
    assert not setup.remove(check_mode=False)
    assert host.asked == []
    for file in setup.files("", "an authority", UNITS):
        file.path.write_text("")
    (tmp_path / "etc" / "tls" / "issued").mkdir(parents=True)
    for name in ("renewal.json", "issued/privkey.pem", "fullchain.pem"):
        (tmp_path / "etc" / "tls" / name).write_text("")
    assert setup.remove(check_mode=True)
    assert len(list((tmp_path / "units").iterdir())) == 2
    assert setup.remove(check_mode=False)
    left = [*(tmp_path / "units").iterdir(), *(path for path in (tmp_path / "etc").rglob("*") if path.is_file())]
    assert left == [tmp_path / "etc" / "tls" / "fullchain.pem"]
    assert not (tmp_path / "etc" / "tls" / "issued").exists()
    assert host.asked[0][:3] == ["systemctl", "disable", "--now"]


def test_a_release_renews(setup: RenewalSetup, host: Host, tmp_path: Path) -> None:
    told: dict[str, Any] = {"changed": True, "reason": "there is none", "usable": True, "problems": []}
    host.answers["certificate"] = (0, json.dumps(told), "")
    renewed = setup.renew(Path("/opt/postroad/current/bin/relay-agent"))
    assert (renewed.changed, renewed.reason, renewed.usable, renewed.problems) == (True, "there is none", True, ())
    assert renewed.unproved == ""
    host.answers["certificate"] = (0, json.dumps(told | {"unproved": "drained"}), "")
    assert setup.renew(Path("/opt/postroad/current/bin/relay-agent")).unproved == "drained"
    assert host.asked[0][1:4] == ["certificate", "renew", "--json"]
    assert host.asked[0][-1] == str(tmp_path / "etc" / "agent.toml")


def test_a_release_that_cannot(setup: RenewalSetup, host: Host) -> None:
    host.answers["certificate"] = (2, "", "certificate.toml: names: is missing")
    with pytest.raises(RenewalError, match="names: is missing"):
        setup.renew(Path("/opt/postroad/current/bin/relay-agent"))

# SPDX-License-Identifier: GPL-3.0-or-later
"""failover_service, as Ansible runs it on a host."""

import getpass
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.postroad.relay.plugins.module_utils import managed_files
from ansible_collections.postroad.relay.plugins.module_utils.failover_units import FailoverUnits
from ansible_collections.postroad.relay.plugins.modules import failover_service

SETTINGS = {
    "service": "mail.example.org",
    "own": "relay1.example.org",
    "member": [
        {"name": "relay1.example.org", "addresses": ["192.0.2.1"]},
        {"name": "relay2.example.org", "addresses": ["192.0.2.2"]},
    ],
    "dns": {"server": "ns1.example.org", "zone": "example.org", "key_name": "relays", "ttl": 30},
}
SECRET = "c2VjcmV0LXRoYXQtaXMtbG9uZw=="


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    monkeypatch.setattr(AnsibleModule, "run_command", lambda _, __: (0, "", ""))
    monkeypatch.setattr(failover_service, "FailoverUnits", partial(FailoverUnits, root=tmp_path))
    (tmp_path / "etc/systemd/system").mkdir(parents=True)

    def module(**arguments: Any) -> dict[str, Any]:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            failover_service.main()
        output = capsys.readouterr().out
        assert SECRET not in output
        found: dict[str, Any] = json.loads(output)
        return found

    return module


def test_check_mode_and_the_run_say_the_same(run: Any, tmp_path: Path) -> None:
    given = {"settings": SETTINGS, "key_secret": SECRET, "_ansible_diff": True}
    checked = run(**given, _ansible_check_mode=True)
    assert not (tmp_path / "etc/postroad-failover.toml").exists()
    done = run(**given)
    assert (checked["changed"], checked["diff"]) == (done["changed"], done["diff"]) == (True, done["diff"])
    assert SECRET in (tmp_path / "etc/postroad-failover.toml").read_text()
    assert run(**given)["changed"] is False


def test_taken_off(run: Any, tmp_path: Path) -> None:
    run(settings=SETTINGS, key_secret=SECRET)
    assert run(state="absent")["changed"] is True
    assert list((tmp_path / "etc/systemd/system").iterdir()) == []
    assert run(state="absent")["changed"] is False

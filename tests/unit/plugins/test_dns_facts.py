# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the DNS part on a host, with an agent that is a script."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.postroad.relay.plugins.modules import dns_facts

AGENT = """#!{python}
import json, sys
words = [word for word in sys.argv[1:] if word != "--json"]
with open("{log}", "a") as log:
    log.write(" ".join(words) + "\\n")
answers = json.load(open("{answers}"))
found = answers.get(" ".join(words))
if isinstance(found, str):
    sys.exit(found)
print(json.dumps(found))
"""


class Host:
    """answers: by the words of a command what it prints as JSON, or as text why it fails."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.program, self.log, self._answers = directory / "agent", directory / "log", directory / "answers"
        self._capsys = capsys
        self.log.touch()
        self.program.write_text(AGENT.format(python=sys.executable, log=self.log, answers=self._answers))
        self.program.chmod(0o755)
        monkeypatch.setattr(dns_facts, "PROGRAM", str(self.program))

    def run(self, module: Any, answers: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        self._answers.write_text(json.dumps(answers))
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def facts(host: Host, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"host": "relay1", "name": "relay1.example.org", "addresses": ["192.0.2.1"], "listeners": [], **more}
    return host.run(dns_facts, answers, **given)


KEYS: dict[str, Any] = {
    "dkim keys": [{"domain": "example.org"}, {"domain": "example.org"}, {"domain": "example.net"}],
    "dkim record example.org": [{"name": "a._domainkey.example.org", "value": "v=DKIM1; p=A", "zone": "x"}],
    "dkim record example.net": [{"name": "b._domainkey.example.net", "value": "v=DKIM1; p=B", "zone": "x"}],
}


def test_the_record_of_every_key(host: Host) -> None:
    result = facts(host, KEYS)
    assert result["changed"] is False
    assert [each["name"] for each in result["dkim"]] == ["b._domainkey.example.net", "a._domainkey.example.org"]
    assert result["keys"] == []
    assert result["drained"] is False
    assert not [line for line in host.asked() if line.startswith("certificate")]


def test_whether_it_takes_mail(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drained = tmp_path / "drained.json"
    monkeypatch.setattr(dns_facts, "DRAINED", drained)
    drained.touch()
    assert facts(host, {"dkim keys": []})["drained"] is True


def test_the_next_key_is_made_once(host: Host) -> None:
    answers = {"dkim keys": [], "certificate tlsa --existing": {"present": "a1", "next": ""}}
    answers["certificate tlsa"] = {"present": "a1", "next": "b2"}
    result = facts(host, answers, tlsa=True)
    assert (result["changed"], result["keys"]) == (True, ["a1", "b2"])
    answers["certificate tlsa --existing"] = {"present": "a1", "next": "b2"}
    result = facts(host, answers, tlsa=True)
    assert (result["changed"], result["keys"]) == (False, ["a1", "b2"])


def test_check_mode_makes_no_key(host: Host) -> None:
    answers = {"dkim keys": [], "certificate tlsa --existing": {"present": "a1", "next": ""}}
    result = facts(host, answers, tlsa=True, _ansible_check_mode=True)
    assert result["keys"] == ["a1"]
    assert "certificate tlsa" not in host.asked()


def test_what_cannot_be_read(host: Host) -> None:
    assert facts(host, {"dkim keys": "no configuration"})["msg"] == "relay-agent dkim keys: no configuration"
    assert "relay_dns_addresses" in facts(host, {}, addresses=[])["msg"]
    host.program.unlink()
    assert "run site.yml first" in facts(host, {})["msg"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""The action rollout_verdict: each step of a rollout looks at what the hosts have registered."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.postroad.relay.plugins.action import rollout_verdict as action
from ansible_collections.postroad.relay.plugins.modules import rollout_verdict

PROVED = {"_relay_agent_configured": {"on_trial": False}}
BROKEN = {"_relay_agent_configured": {"failed": True, "msg": "tls: bad"}}
NOT_KEPT = {"_relay_agent_configured": {"on_trial": True}, "_relay_rollout_settled": {"msg": "gone"}}


def run(step: str, hosts: dict[str, Any], *, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
    task = SimpleNamespace(
        args={"step": step, "hosts": list(hosts), **arguments}, check_mode=check_mode, async_val=0, diff=False
    )
    shell = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = action.ActionModule(task, shell, SimpleNamespace(), None, None, None)
    return plugin.run(task_vars={"hostvars": hosts})


def test_every_host_has_to_be_ready() -> None:
    assert not run("staged", {"r1": {}, "r2": {}}).get("failed")
    gone = {"_relay_agent_staged": {"unreachable": True, "msg": "no route"}}
    result = run("staged", {"r1": {}, "r2": gone})
    assert result["failed"]
    assert result["msg"] == "the rollout was stopped, nothing was changed:\n  r2: it does not answer: no route"


def test_one_that_has_not_proved_itself_is_enough() -> None:
    assert run("proved", {"r1": PROVED})["good"]
    result = run("proved", {"r1": PROVED, "r2": BROKEN})
    assert not result["good"]
    assert result["problems"] == {"r1": [], "r2": ["tls: bad"]}
    assert not result.get("failed")


def test_those_that_kept_it_go_back_when_another_did_not() -> None:
    good = {"good": True, "problems": {"r1": [], "r2": []}}
    assert not run("kept", {"r1": PROVED}, verdict=good)["undo"]
    assert run("kept", {"r1": PROVED, "r2": NOT_KEPT}, verdict=good)["undo"]
    # What was put back already has nothing to keep.
    bad = {"good": False, "problems": {"r2": ["tls: bad"]}}
    assert run("kept", {"r1": PROVED, "r2": BROKEN}, verdict=bad)["undo"] is False


def test_the_outcome_fails_the_play_and_names_those_whose_turn_did_not_come() -> None:
    everybody = ["r1", "r2", "r3", "r4"]
    good = run("outcome", {"r2": PROVED}, all_hosts=everybody, verdict={"problems": {"r2": []}})
    assert not good.get("failed")
    bad = run("outcome", {"r2": BROKEN}, all_hosts=everybody, verdict={"problems": {"r2": ["tls: bad"]}})
    assert bad["failed"]
    assert "r2: tls: bad" in bad["msg"]
    assert "r3, r4: not touched" in bad["msg"]
    assert "r1" not in bad["msg"]


def test_the_outcome_tells_what_no_probe_has_shown(capsys: pytest.CaptureFixture[str]) -> None:
    drained = {
        "_relay_agent_configured": {"on_trial": True, "drained": True},
        "_relay_rollout_judged": {"problems": []},
    }
    assert run("proved", {"r1": drained})["good"]
    result = run("outcome", {"r1": drained, "r2": PROVED}, all_hosts=["r1", "r2"], verdict={"problems": {}})
    assert not result.get("failed")
    assert result["unproved"] == ["r1: drained: not probed"]
    assert "r1: drained: not probed" in capsys.readouterr().out


@pytest.mark.parametrize("step", ["staged", "proved", "kept"])
def test_in_check_mode_all_is_good(step: str) -> None:
    result = run(step, {"r1": {}}, check_mode=True)
    assert not result.get("failed")
    assert result.get("good", True)
    assert not result.get("undo", False)


def test_in_check_mode_what_cannot_be_told_fails() -> None:
    result = run("proved", {"r1": PROVED, "r2": BROKEN}, check_mode=True)
    assert (result["good"], result["problems"]) == (False, {"r1": [], "r2": ["tls: bad"]})
    settled = {**BROKEN, "_relay_rollout_settled": {"state": "In check mode nothing was changed."}}
    told = run("outcome", {"r2": settled}, check_mode=True, all_hosts=["r2"], verdict=result)
    assert told["failed"]
    assert "r2: what it ran before. In check mode nothing was changed." in told["msg"]


def test_the_documentation_has_the_arguments() -> None:
    options = yaml.safe_load(rollout_verdict.DOCUMENTATION)["options"]
    assert set(options) == set(action.ARGUMENTS)
    assert options["step"]["choices"] == action.ARGUMENTS["step"]["choices"]

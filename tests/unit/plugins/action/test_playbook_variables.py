# SPDX-License-Identifier: GPL-3.0-or-later
"""playbook_variables: problems of all hosts, by the playbook's own prefix."""

from types import SimpleNamespace
from typing import Any

import yaml
from ansible_collections.postroad.relay.plugins.action import playbook_variables as action
from ansible_collections.postroad.relay.plugins.modules import playbook_variables

SPEC = {
    "relay_status_json": {"type": "path"},
    "relay_status_timeout": {"type": "float"},
    "relay_status_thresholds": {"type": "dict", "options": {"queue_messages": {"type": "int"}}},
}


def run(**hosts: dict[str, Any]) -> dict[str, Any]:
    arguments = {"prefix": "relay_status_", "argument_spec": SPEC}
    task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=""))
    plugin = action.ActionModule(task, connection, SimpleNamespace(), None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={"hostvars": hosts, "ansible_play_hosts_all": list(hosts)})
    return result


def test_good_variables_and_those_of_others() -> None:
    result = run(a={"relay_status_timeout": "3", "relay_statistics": 1, "relay_agent_nonsense": 1})
    assert not result.get("failed")


def test_the_key_is_new_in_each_run_and_never_shown() -> None:
    one, two = run(a={}), run(a={})
    assert one["key"] != two["key"]
    assert one["_ansible_no_log"] is True


def test_every_problem_of_every_host() -> None:
    result = run(
        a={"relay_status_jason": "x", "relay_status_timeout": "soon"},
        b={"relay_status_thresholds": {"queue_mesages": 3}},
    )
    assert result["failed"] is True
    assert result["msg"].splitlines() == [
        "nothing was looked at; to be mended:",
        "  a: relay_status_jason: did you mean relay_status_json?",
        "  a: relay_status_timeout: 'soon' is not float",
        "  b: relay_status_thresholds.queue_mesages: is not a known key; did you mean queue_messages?",
    ]


def test_documentation_names_every_option() -> None:
    assert yaml.safe_load(playbook_variables.DOCUMENTATION)["options"].keys() == action.ARGUMENTS.keys()

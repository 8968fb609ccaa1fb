# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of a step's findings, and what the operator is told."""

from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.rollout_verdict import (
    kept_problems,
    notes,
    outcome,
    proved_problems,
    staged_problems,
)

PROBE = {
    "host": "r1.test", "port": 587, "tls": "starttls", "program": "smtplib", "message_id": "<1@x>", "ok": True,
    "reply": "250 ok", "submitted": 10.0,
}  # fmt: skip


def host(*, arrived: bool = True, **registered: Any) -> dict[str, Any]:
    """A host on which all is well, but for what is given."""
    arrivals = (
        {"arrivals": {"<1@x>": 11.0}, "lost": {}} if arrived else {"arrivals": {}, "lost": {"<1@x>": "not there"}}
    )
    return {
        "relay_agent_hostname": "r1.test",
        "_relay_agent_staged": {"release": "aaaa"},
        "_relay_agent_configured": {"on_trial": True},
        "_relay_verify_submitted": {"probes": [PROBE]},
        "_relay_verify_arrived": arrivals,
        "_relay_rollout_judged": {"problems": []},
        "_relay_rollout_settled": {"generation": 4},
        **registered,
    }


def test_all_is_well() -> None:
    assert staged_problems(host()) == []
    assert proved_problems("r1", host()) == []
    assert kept_problems(host()) == []
    assert outcome({"r1": []}, {"r1": host()}, ["r2"], confirm_within=600) == ""


def test_a_host_that_does_not_answer_is_not_ready() -> None:
    gone = {"unreachable": True, "msg": "No route to host"}
    assert staged_problems(host(_relay_agent_staged=gone)) == ["it does not answer: No route to host"]


@pytest.mark.parametrize(
    ("registered", "told"),
    [
        (
            {"_relay_agent_configured": {"unreachable": True, "msg": "timed out"}},
            "did not answer any more .* timed out",
        ),
        ({"_relay_agent_configured": {"failed": True, "msg": "tls: bad"}}, "^tls: bad$"),
        ({"_relay_agent_configured": {}}, "was not made"),
        ({"arrived": False}, r"1 of 1 probe messages did not arrive(.|\n)*r1\.test port 587 .*not there"),
        ({"_relay_verify_submitted": {"unreachable": True, "msg": "gone"}}, "nothing could be submitted: gone"),
        ({"_relay_rollout_judged": {"problems": ["no agent answers"]}}, "^no agent answers$"),
        ({"_relay_rollout_judged": {"unreachable": True, "msg": "gone"}}, "how it is could not be asked: gone"),
    ],
)
def test_what_has_not_proved_itself(registered: dict[str, Any], told: str) -> None:
    import re

    assert re.search(told, "\n".join(proved_problems("r1", host(**registered))))


def test_where_nothing_was_to_change_there_is_nothing_to_prove() -> None:
    unchanged = {"_relay_agent_configured": {"on_trial": False}, "_relay_verify_submitted": {"skipped": True}}
    assert proved_problems("r1", unchanged) == []
    assert kept_problems(unchanged) == []


def test_a_host_that_has_not_kept_it() -> None:
    assert kept_problems(host(_relay_rollout_settled={"msg": "no change is on trial"})) == [
        "the change could not be confirmed: no change is on trial"
    ]


def test_the_operator_learns_what_failed_and_what_runs() -> None:
    known = {
        "r1": host(_relay_rollout_settled={"state": "Release aaaa and its configuration were put back."}),
        "r2": host(
            _relay_agent_configured={"failed": True, "msg": "refused\nby itself"},
            _relay_rollout_settled={"state": "No change is on trial there."},
        ),
        "r3": host(
            _relay_agent_configured={"unreachable": True},
            _relay_rollout_settled={"unreachable": True, "msg": "no route"},
        ),
        "r4": host(_relay_agent_configured={"on_trial": False}, _relay_rollout_settled={"skipped": True}),
        "r5": host(_relay_rollout_settled={"unreachable": True, "msg": "timed out"}),
    }
    problems = {"r1": ["no mail"], "r2": ["refused\nby itself"], "r3": [], "r4": [], "r5": []}
    text = outcome(problems, known, ["r6", "r7"], confirm_within=600)
    by_itself = "it puts back what it ran before by itself, after 600 s or when it starts anew"
    assert text.splitlines() == [
        "the rollout was stopped:",
        "  r1: no mail",
        "  r2: refused",
        "    by itself",
        "what runs now:",
        "  r1: what it ran before. Release aaaa and its configuration were put back.",
        "  r2: what it ran before. No change is on trial there.",
        f"  r3: does not answer; if the change was begun there, {by_itself}",
        "  r4: what it ran before; nothing was to change",
        f"  r5: not known (timed out); if the change is in use there, {by_itself}",
        "  r6, r7: not touched",
    ]


@pytest.mark.parametrize(
    ("configured", "settled", "told"),
    [
        # Going back failed when configuring did, and again.
        (
            {"failed": True, "msg": "it refuses\nputting back what ran before failed, too: disk full"},
            {"msg": "putting back what ran before failed, too: disk full"},
            "not known (putting back what ran before failed, too: disk full); if the change is in use there, it puts",
        ),
        # It broke off without a result of its own, with the change in use.
        (
            {"failed": True, "msg": "MODULE FAILURE: killed"},
            {"state": "Release aaaa and its configuration were put back; the agent runs."},
            "what it ran before. Release aaaa and its configuration were put back; the agent runs.",
        ),
        ({"failed": True, "msg": "MODULE FAILURE: killed"}, {"unreachable": True, "msg": "gone"}, "not known (gone)"),
        ({"failed": True, "msg": "MODULE FAILURE: killed"}, {}, "not known (no answer)"),
        # Gone for a moment alone.
        (
            {"unreachable": True, "msg": "timed out"},
            {"state": "No change is on trial there."},
            "what it ran before. No change is on trial there.",
        ),
    ],
)
def test_what_runs_where_configuring_failed_is_what_the_host_says(
    configured: dict[str, Any], settled: dict[str, Any], told: str
) -> None:
    known = {"r1": host(_relay_agent_configured=configured, _relay_rollout_settled=settled)}
    text = outcome({"r1": ["bad"]}, known, [], confirm_within=600)
    assert f"what runs now:\n  r1: {told}" in text


def test_a_drained_host_is_judged_without_probes() -> None:
    drained = host(
        _relay_agent_configured={"on_trial": True, "drained": True}, _relay_verify_submitted={"skipped": True}
    )
    assert proved_problems("r1", drained) == []
    assert notes(drained) == ["drained: not probed"]
    ill = {**drained, "_relay_rollout_judged": {"problems": ["no worker takes mail"]}}
    assert proved_problems("r1", ill) == ["no worker takes mail"]


def test_ports_that_were_left_out_are_told() -> None:
    left_out = [{"port": port, "why": "only a balancer may use it"} for port in (465, 587)]
    known = host(_relay_verify_submitted={"probes": [PROBE], "left_out": left_out})
    assert notes(known) == ["ports 465, 587 not probed: only a balancer may use it"]
    assert notes(host()) == []
    assert notes({**known, "_relay_agent_configured": {"on_trial": False, "drained": True}}) == []


def test_those_that_kept_it_go_back_as_well() -> None:
    known = {
        "r1": host(_relay_rollout_undone={"generations": []}),
        "r2": host(_relay_rollout_undone={"msg": "disk full"}),
    }
    text = outcome({"r1": [], "r2": [], "r3": ["gone"]}, known, [], confirm_within=600)
    assert "  r1: what it ran before\n" in text
    assert "  r2: the change, as going back failed (disk full): run rollback.yml" in text

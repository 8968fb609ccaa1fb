# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as JSON."""

import json

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds, judge
from ansible_collections.postroad.relay.plugins.plugin_utils.status.record import as_record, last_run
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import read_state
from status_example import AT, fleet, reading, relay


def test_everything_is_there_and_is_json() -> None:
    relays = fleet()
    record = json.loads(json.dumps(as_record(relays, judge(relays, Thresholds()), AT)))
    assert record["at"] == "2026-11-28T18:00:00Z"
    assert [each["level"] for each in record["relays"]] == ["well", "notice", "trouble", "trouble"]
    assert record["relays"][1]["certificate"]["days_left"] == 11
    assert record["relays"][0]["queue"]["reasons"][0]["recipients"] == 21
    assert record["relays"][3]["unreachable"].startswith("Failed to connect")
    assert record["relays"][3]["certificate"] is None
    assert {"host", "level", "about", "text"} == record["findings"][0].keys()


def test_no_digest_of_a_secret_leaves_the_controller() -> None:
    text = json.dumps(as_record([relay("a", reading(secrets={"me.password": "5ec2e7"}))], [], AT))
    assert "5ec2e7" not in text


def test_the_next_run_begins_where_this_one_ended() -> None:
    text = json.dumps(as_record([relay("a", reading(counts=(80, 0, 10)))], [], AT))
    later = read_state("a", "relays", {"reading": reading(counts=(90, 0, 10))}, {}, last_run(text)["a"])
    assert later.failed_share == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "relays": []}', '{"format": 1, "relays": [1]}'])
def test_what_is_no_record_is_no_beginning(text: str) -> None:
    assert last_run(text) == {}

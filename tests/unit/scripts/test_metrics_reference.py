# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the metrics: every metric, every alert; and alerts only over metrics that there are."""

import re
from pathlib import Path

import yaml
from metrics_reference import ALERTS, monitoring_page

from relay_agent.observability.measured import REGISTRY

RULES = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def test_every_metric_and_alert_is_on_the_page() -> None:
    page = monitoring_page()
    for each in REGISTRY:
        assert f"| `{each.name}` | {each.kind} |" in page
    for rule in RULES:
        assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page


def test_a_table_is_not_broken_by_what_is_in_it(tmp_path: Path) -> None:
    for line in monitoring_page().splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5)


def test_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    names = {each.name: each for each in REGISTRY}
    for rule in RULES:
        for name, selector in re.findall(r"(postroad_\w+)(\{[^}]*\})?", rule["expr"]):
            definition = names[name.removesuffix("_bucket")]
            for label, found in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                values = next(each.values for each in definition.labels if each.name == label)
                assert set(found.split("|")) <= set(values), (rule["alert"], found)


def test_what_an_operator_has_to_hear_of_has_an_alert() -> None:
    expressions = " ".join(rule["expr"] for rule in RULES)
    for name in (
        "limit_reached_total",
        "shut_outs_total",
        "queue_oldest_age_seconds",
        "certificate_expiry_timestamp_seconds",
        "certificate_renewal_fails",
        "delivery_outcomes_total",
        "worker_restarts_total",
    ):
        assert f"postroad_{name}" in expressions

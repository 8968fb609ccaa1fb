# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts of the fleet's page say the numbers that they draw."""

import re
from xml.etree import ElementTree as ET

from ansible_collections.postroad.relay.plugins.plugin_utils.status.charts import charts
from ansible_collections.postroad.relay.plugins.plugin_utils.status.judgement import Thresholds
from ansible_collections.postroad.relay.plugins.plugin_utils.status.state import RelayState
from status_example import fleet, reading, relay, waiting


def drawn(relays: list[RelayState]) -> ET.Element:
    return ET.fromstring(charts(relays, Thresholds()))


def said(root: ET.Element, identifier: str) -> str:
    (found,) = (each for each in root.iter("desc") if each.get("id") == f"{identifier}-text")
    return found.text or ""


def widths(root: ET.Element, identifier: str) -> list[float]:
    (chart,) = (each for each in root.iter("svg") if each.get("aria-labelledby", "").startswith(f"{identifier}-"))
    bars = (each for each in chart.iter("rect") if each.get("class", "").startswith("bar "))
    return [float(each.get("width", "").rstrip("%")) for each in bars]


def test_each_chart_says_its_numbers() -> None:
    root = drawn(fleet())
    assert said(root, "chart-waiting") == (
        "relay1.example.org: 37 messages, oldest 1 h 30 min; relay2.example.org: 4 messages, oldest 11 min 40 s; "
        "relay3.example.org: empty; relay4.example.org: unreachable"
    )
    assert "relay2.example.org: 9,000 delivered · 3,000 deferred · 1,500 failed" in said(root, "chart-outcomes")
    assert "relay2.example.org: 11 days" in said(root, "chart-certificates")


def test_bars_are_in_proportion() -> None:
    root = drawn(fleet())
    assert [round(width) for width in widths(root, "chart-waiting")] == [100, 11]
    assert round(sum(widths(root, "chart-outcomes"))) == 300
    assert [round(width) for width in widths(root, "chart-certificates")] == [100, 14, 80]


def test_certificates_that_are_nearly_over_are_red() -> None:
    text = charts([relay("a", reading(days=20)), relay("b", reading(days=22))], Thresholds())
    assert re.findall(r'class="bar (\w+)"[^>]*><title>(\w): 2\d days', text) == [("red", "a"), ("green", "b")]


def test_reasons_beyond_the_first_are_counted() -> None:
    queue = waiting(1.0, *((f"reason {number}", 20 - number) for number in range(11)))
    text = charts([relay("a", reading(queue=queue))], Thresholds())
    assert "reason 7" in text
    assert "reason 8" not in text
    assert "and 3 more reasons" in text


def test_an_empty_fleet() -> None:
    assert "Nothing waits." in "".join(drawn([]).itertext())

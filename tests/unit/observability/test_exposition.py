# SPDX-License-Identifier: GPL-3.0-or-later
import json
import math

from relay_agent.observability.exposition import OPENMETRICS, TEXT, as_json, as_text, content_type
from relay_agent.observability.metrics import Definition, Label

MAIL = Definition("p_mail_total", "counter", 'Mail \\ with a "word".\nMore.', (Label("port"), Label("tls")))
SECONDS = Definition("p_seconds", "histogram", "Seconds.", (), (0.5, 1, 10))
NOW = Definition("p_now", "gauge", "Now.")
FAMILIES = [
    as_json(MAIL, {("587", 'a"b\\c\nd'): [3], ("465", "x"): [1]}),
    as_json(SECONDS, {(): [1, 0, 2, 1, 31.5]}),
    as_json(NOW, {(): [0.25]}),
]

CLASSIC = r"""
# HELP p_mail_total Mail \\ with a "word".\nMore.
# TYPE p_mail_total counter
p_mail_total{port="465",tls="x"} 1
p_mail_total{port="587",tls="a\"b\\c\nd"} 3
# HELP p_seconds Seconds.
# TYPE p_seconds histogram
p_seconds_bucket{le="0.5"} 1
p_seconds_bucket{le="1.0"} 1
p_seconds_bucket{le="10.0"} 3
p_seconds_bucket{le="+Inf"} 4
p_seconds_sum 31.5
p_seconds_count 4
# HELP p_now Now.
# TYPE p_now gauge
p_now 0.25
"""


def test_the_text_format() -> None:
    assert as_text(FAMILIES) == CLASSIC.lstrip()


def test_openmetrics_names_counters_without_total_and_has_an_end() -> None:
    text = as_text(FAMILIES, OPENMETRICS)
    assert text.startswith(r"# HELP p_mail Mail \\ with a \"word\".\nMore." + "\n# TYPE p_mail counter\np_mail_total{")
    assert text.endswith("p_now 0.25\n# EOF\n")


def test_values_travel_as_json() -> None:
    travelled = json.loads(json.dumps(FAMILIES, allow_nan=False))
    assert as_text(travelled) == as_text(FAMILIES)
    assert travelled[1]["samples"] == [
        {"labels": {}, "buckets": {"0.5": 1, "1.0": 1, "10.0": 3, "+Inf": 4}, "sum": 31.5, "count": 4}
    ]
    assert travelled[0]["samples"][0] == {"labels": {"port": "465", "tls": "x"}, "value": 1}


def test_without_a_sample_a_metric_is_not_shown() -> None:
    assert as_text([as_json(NOW, {})]) == "\n"


def test_infinity_has_its_own_spelling() -> None:
    assert as_text([as_json(NOW, {(): [math.inf]})]).endswith("p_now +Inf\n")
    assert as_text([as_json(NOW, {(): [-math.inf]})]).endswith("p_now -Inf\n")


def test_the_format_is_the_one_asked_for() -> None:
    assert content_type("") == content_type("*/*") == content_type("text/html") == TEXT
    assert content_type("Application/OpenMetrics-Text;version=1.0.0;q=0.75,text/plain;version=0.0.4") == OPENMETRICS

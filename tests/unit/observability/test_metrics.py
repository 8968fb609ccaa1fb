# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.observability.metrics import MOST_SERIES, OTHER, Label, Registry


def test_a_counter_counts_by_its_labels() -> None:
    registry = Registry("p_")
    served = registry.counter("served", "Served.", Label("port"), Label("tls", ("on", "off")))
    served[587, "on"] += 1
    served[587, "on"] += 2
    served[465, "off"] += 1
    assert registry.snapshot() == {"p_served_total": [[["587", "on"], [3]], [["465", "off"], [1]]]}


def test_a_counter_without_labels() -> None:
    registry = Registry("p_")
    counter = registry.counter("bounces", "Bounces.")
    assert registry.snapshot() == {}
    counter.add()
    counter.add(2)
    assert registry.snapshot() == {"p_bounces_total": [[[], [3]]]}


def test_reading_a_counter_makes_no_series() -> None:
    counter = Registry().counter("x", "X.", Label("reason", ("a",)))
    assert counter["a"] == 0
    assert counter.series() == {}


def test_a_label_value_that_was_not_declared_is_other() -> None:
    counter = Registry().counter("x", "X.", Label("reason", ("a",)))
    counter["a"] += 1
    counter['"} evil'] += 2
    counter["more"] += 3
    assert counter.series() == {("a",): [1], (OTHER,): [5]}


def test_series_have_an_end() -> None:
    counter = Registry().counter("x", "X.", Label("event"), Label("port"))
    for number in range(MOST_SERIES + 50):
        counter[f"e{number}", number] += 1
    series = counter.series()
    assert len(series) == MOST_SERIES + 1
    assert series[OTHER, OTHER] == [50]
    assert sum(numbers[0] for numbers in series.values()) == MOST_SERIES + 50


def test_a_histogram_puts_a_value_into_the_first_bucket_that_reaches_it() -> None:
    registry = Registry("p_")
    seconds = registry.histogram("seconds", "Seconds.", (0.1, 1, 10))
    for value in (0.0, 0.1, 0.100001, 1, 10.0, 11, 1e9):
        seconds.observe(value)
    (labels, numbers) = registry.snapshot()["p_seconds"][0]
    assert labels == []
    assert numbers[:-1] == [2, 2, 1, 2]
    assert numbers[-1] == pytest.approx(1e9 + 22.200001)


def test_what_is_known_to_exist_begins_at_zero() -> None:
    registry = Registry("p_")
    registry.counter("a", "A.", Label("x", ("1", "2")), Label("y", ("3",)))
    registry.counter("b", "B.", Label("x", ("1", "2")), Label("port"))
    registry.counter("c", "C.", Label("x", tuple(map(str, range(100)))))
    registry.counter("d", "D.")
    registry.histogram("e", "E.", (1,))
    registry.gauge("f", "F.")
    assert [each.zeros() for each in registry] == [
        {("1", "3"): [0], ("2", "3"): [0]},
        {},
        {},
        {(): [0]},
        {(): [0, 0, 0]},
        {},
    ]


def test_a_name_is_one_metric() -> None:
    registry = Registry()
    registry.counter("x", "X.")
    with pytest.raises(ValueError, match="postroad_x_total is defined twice"):
        registry.counter("x", "X.")
    with pytest.raises(ValueError, match="ascend"):
        registry.histogram("h", "H.", (2, 1))

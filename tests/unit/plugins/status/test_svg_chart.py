# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts as SVG: sound XML, everything said in words, bars in their place."""

from xml.etree import ElementTree as ET

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.svg_chart import Bar, Mark, Part, bar_chart, strip


def drawn(*bars: Bar, mark: Mark | None = None) -> ET.Element:
    return ET.fromstring(bar_chart("some", "A title", bars, mark))


def bars_of(svg: ET.Element) -> list[tuple[str, str]]:
    rects = [each for each in svg.iter("rect") if each.get("class", "").startswith("bar")]
    return [(each.get("x", ""), each.get("width", "")) for each in rects]


def test_title_and_description_are_what_the_picture_is_named_by() -> None:
    svg = drawn(Bar("relay1", "37 messages", [Part(1, "blue", "37")]), mark=Mark(0.5, "from 21 on"))
    names = svg.get("aria-labelledby", "").split()
    said = {each.get("id"): each.text for each in svg if each.get("id")}
    assert svg.get("role") == "img"
    assert [said[name] for name in names] == ["A title", "relay1: 37 messages. from 21 on"]


def test_parts_follow_each_other() -> None:
    svg = drawn(Bar("a", "", [Part(0.5, "green", "half"), Part(0.25, "red", "a quarter")]))
    assert bars_of(svg) == [("0%", "50%"), ("50%", "25%")]


@pytest.mark.parametrize("share", [0.0, -3.0])
def test_nothing_is_drawn_of_nothing(share: float) -> None:
    assert bars_of(drawn(Bar("a", "empty", [Part(share, "blue", "none")]))) == []


def test_a_bar_never_leaves_the_picture() -> None:
    assert bars_of(drawn(Bar("a", "", [Part(0.8, "green", "x"), Part(0.8, "red", "y")])))[1] == ("80%", "20%")


def test_text_is_text() -> None:
    svg = drawn(Bar("<script>", 'a "b" & c', [Part(1, "blue", "<&>")]))
    assert [each.text for each in svg.iter("text")] == ["<script>", 'a "b" & c']


def test_a_mark_crosses_every_bar() -> None:
    lines = list(drawn(Bar("a", ""), Bar("b", ""), mark=Mark(0.9, "here")).iter("line"))
    assert [line.get("x1") for line in lines] == ["90%", "90%"]


def test_a_strip_is_not_read_out() -> None:
    assert ET.fromstring(strip([Part(0.3, "amber", "x")])).get("aria-hidden") == "true"

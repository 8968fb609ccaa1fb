# SPDX-License-Identifier: GPL-3.0-or-later
"""The style of the fleet's page: enough contrast in light and in dark (WCAG 2.2)."""

import re

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.status.style import STYLE

_TEXT = [
    ("text", "ground"),
    ("text", "card"),
    ("soft", "ground"),
    ("soft", "card"),
    ("good", "card"),
    ("bad", "card"),
    ("unlike", "card"),
    ("good", "good-soft"),
    ("bad", "bad-soft"),
    ("unlike", "unlike-soft"),
    ("note", "note-soft"),
]
_BARS = [(colour, "card") for colour in ("blue", "green", "amber", "red")]


def colours(scheme: str) -> dict[str, str]:
    """The variables of one of the two schemes; dark leaves none of light's as it is."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", dark if scheme == "dark" else light))


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "ground"), _TEXT)
def test_text_can_be_read(scheme: str, front: str, ground: str) -> None:
    found = colours(scheme)
    assert contrast(found[front], found[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("front", "ground"), _BARS)
def test_bars_can_be_seen(scheme: str, front: str, ground: str) -> None:
    found = colours(scheme)
    assert contrast(found[front], found[ground]) >= 3


def test_both_schemes_have_the_same_colours() -> None:
    assert colours("light").keys() == colours("dark").keys()

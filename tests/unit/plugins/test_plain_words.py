# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, spans and foreign text in words."""

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import count, percent, plain, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (700, "11 min 40 s"),
        (3600, "1 h"),
        (90000, "1 d 1 h"),
        (86400 * 3 + 59, "3 d"),
        (-4, "0 s"),
    ],
)
def test_span(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"), [(None, "-"), (0, "0 %"), (0.0004, "< 0.1 %"), (0.0125, "1.2 %"), (0.5, "50 %"), (1, "100 %")]
)
def test_percent(share: float | None, words: str) -> None:
    assert percent(share) == words


def test_count() -> None:
    assert (count(None), count(1234567.0)) == ("-", "1,234,567")


def test_foreign_text_does_nothing_to_a_terminal() -> None:
    assert plain("550 \x1b[2J no\r\nsuch \u202euser é") == "550  [2J no  such  user é"

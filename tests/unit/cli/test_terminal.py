# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.cli.terminal import duration, escape, moment, size, table


@given(st.text())
def test_nothing_that_a_terminal_acts_on_gets_out(text: str) -> None:
    assert escape(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain <a@b>", "plain <a@b>"),
        ("schön 送信", "schön 送信"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb", r"a\r\nb"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_spelled_out(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (-5, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3601, "1 h"), (93_784, "1 d 2 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (4096, "4.1 KB"), (52_428_800, "52 MB"), (999_999, "1000 KB"), (10**12, "1000.0 GB")],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_moments_are_in_utc() -> None:
    assert moment(1_700_000_000) == "2023-11-14 22:13:20 UTC"


def test_a_table_lines_up_whatever_is_in_it() -> None:
    lines = table(("a", "n"), [("x", "1"), ("送信", "10"), ("\x1b", "5")], right=("n",)).splitlines()
    assert lines == ["a      n", "x      1", "送信  10", r"\x1b   5"]
    assert table(("a",), []) == "a"

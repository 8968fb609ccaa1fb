# SPDX-License-Identifier: GPL-3.0-or-later
"""How renewals went, written and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from relay_agent.certificates import journal
from relay_agent.certificates.journal import NAME, Renewals, note_proof, read_renewals, write_renewals
from relay_agent.whole_file import locked_directory


def test_what_is_written_is_read(tmp_path: Path) -> None:
    renewals = Renewals(looked=3.5, issued="abc", ttl=60)
    write_renewals(tmp_path, renewals)
    assert read_renewals(tmp_path) == renewals


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', '{"looked": "x"}', '{"problem": 1}'])
def test_what_is_not_ours_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert read_renewals(tmp_path) is None
    assert read_renewals(tmp_path / "missing") is None


def test_of_another_release(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"looked": 1.0, "from_the_future": true}')
    assert read_renewals(tmp_path) == Renewals(looked=1.0)


def test_when_the_next_key_may_be_used() -> None:
    assert Renewals().next_ready(100.0) is None
    assert Renewals(seen=100.0, ttl=60).next_ready(130.0) == 30.0
    assert Renewals(seen=100.0, ttl=60).next_ready(160.0) == 0


def test_a_failure_keeps_its_beginning() -> None:
    failing = Renewals().failed("down", 10.0).failed("still down", 20.0)
    assert (failing.failing, failing.problem) == (10.0, "still down")


def test_a_proof_is_noted_once(tmp_path: Path) -> None:
    assert not note_proof(tmp_path, lambda: True)
    unproved = Renewals(looked=3.5, issued="abc", unproved="this host is drained")
    write_renewals(tmp_path, unproved)
    assert not note_proof(tmp_path, lambda: False)  # another pair has been put in use meanwhile
    assert read_renewals(tmp_path) == unproved
    assert note_proof(tmp_path, lambda: True)
    assert read_renewals(tmp_path) == replace(unproved, unproved="")
    assert not note_proof(tmp_path, lambda: True)


def test_a_proof_waits_for_a_renewal_that_is_under_way(tmp_path: Path) -> None:
    unproved = Renewals(unproved="this host is drained")
    write_renewals(tmp_path, unproved)
    with locked_directory(tmp_path, 0), pytest.raises(TimeoutError, match="locked by another program"):
        note_proof(tmp_path, lambda: True, within=0.0)
    assert read_renewals(tmp_path) == unproved


def test_a_proof_that_the_renewal_noted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_renewals(tmp_path, Renewals(unproved="this host is drained"))
    proved = Renewals(looked=9.0, issued="new")

    @contextmanager
    def after_a_renewal(directory: Path, seconds: float) -> Iterator[None]:
        write_renewals(directory, proved)
        yield

    monkeypatch.setattr(journal, "locked_directory", after_a_renewal)
    assert not note_proof(tmp_path, lambda: True)
    assert read_renewals(tmp_path) == proved

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs on the disk: whole, switched in one step, and back."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from relay_agent.certificates.chain import key_digest, new_key
from relay_agent.certificates.pairs import Pairs
from relay_agent.certificates.problem import CertificateError
from tests.unit.certificates.authority import chain_for


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return Pairs(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_there_at_first(pairs: Pairs) -> None:
    assert (pairs.chain(), pairs.key(), pairs.has_next_key()) == ("", "", False)


def test_a_pair_is_put_in_use_and_back(pairs: Pairs) -> None:
    first, second = new_key(), new_key()
    assert pairs.put_in_use(chain_for(first, "a.example"), first) is None
    before = pairs.put_in_use(chain_for(second, "a.example"), second)
    assert pairs.key() == second
    assert before is not None
    pairs.put_back(before)
    assert pairs.key() == first
    assert pairs.chain().startswith("-----BEGIN CERTIFICATE-----")


def test_nobody_else_reads_the_key(pairs: Pairs) -> None:
    key = new_key()
    pairs.put_in_use(chain_for(key, "a.example"), key)
    assert mode(pairs.directory / "privkey.pem") == 0o640
    assert mode((pairs.directory / "current").resolve()) == 0o750
    pairs.next_key()
    assert mode(pairs.directory / "next") == 0o700
    assert mode(pairs.directory / "next" / "privkey.pem") == 0o600


def test_a_pair_that_does_not_belong_together_changes_nothing(pairs: Pairs) -> None:
    key = new_key()
    pairs.put_in_use(chain_for(key, "a.example"), key)
    with pytest.raises(CertificateError, match="not for the key that it was asked for"):
        pairs.put_in_use(chain_for(new_key(), "a.example"), new_key())
    assert pairs.key() == key
    assert len(list((pairs.directory / "versions").iterdir())) == 1


def test_the_next_key_stays_until_it_is_used(pairs: Pairs) -> None:
    key = pairs.next_key()
    assert pairs.next_key() == key
    assert pairs.has_next_key()
    pairs.next_key_is_used()
    assert key_digest(pairs.next_key()) != key_digest(key)


def test_old_pairs_go_and_the_one_in_use_stays(pairs: Pairs) -> None:
    places = []
    for _ in range(5):
        key = new_key()
        places.append(pairs.put_in_use(chain_for(key, "a.example"), key))
    second = places[2]
    assert second is not None
    pairs.put_back(second)
    pairs.prune()
    left = {path.name for path in (pairs.directory / "versions").iterdir()}
    assert len(left) == 3
    assert second.name in left

# SPDX-License-Identifier: GPL-3.0-or-later
"""The short run: every input that is kept, and some that are made of them, always the same ones."""

from __future__ import annotations

import time
import zlib

import pytest

from .mutation import mutations
from .session import session_cut_everywhere
from .targets import CORPUS, TARGETS, corpus

#: Seconds of processor time for a target's made inputs; nearly all are through long before.
_LONGEST = 1.5
_COUNT = 1000
#: Those of the hostile sessions that are quickly tried in all pieces, the ends of data that are none among them.
_SMALL = [path.name for path in corpus("session") if path.stat().st_size <= 210]


@pytest.mark.parametrize(
    ("target", "name"), [(target, path.name) for target in TARGETS for path in corpus(target)], ids=lambda text: text
)
def test_kept(target: str, name: str) -> None:
    TARGETS[target]((CORPUS / target / name).read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_made(target: str) -> None:
    seeds = [path.read_bytes() for path in corpus(target)]
    begun = time.process_time()
    for data in mutations(seeds, zlib.crc32(target.encode()), _COUNT):
        try:
            TARGETS[target](data)
        except BaseException as error:
            raise AssertionError(f"{target} cannot cope with {data!r}") from error
        if time.process_time() - begun > _LONGEST:
            break


@pytest.mark.parametrize("name", _SMALL, ids=lambda text: text)
def test_a_small_session_cut_at_every_byte(name: str) -> None:
    session_cut_everywhere((CORPUS / "session" / name).read_bytes())


def test_every_target_has_inputs_and_every_input_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert all(corpus(target) for target in TARGETS)
    assert {path.name for path in corpus("session") if path.name.startswith("smuggle-")} < set(_SMALL)

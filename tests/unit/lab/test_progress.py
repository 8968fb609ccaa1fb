# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines."""

import io
import time

import pytest
from lab.progress import Progress


def test_a_step_says_how_it_went() -> None:
    stream = io.StringIO()
    with Progress(stream=stream).step("baking"):
        pass
    first, last = stream.getvalue().splitlines()
    assert first.endswith("baking ...")
    assert "baking: done in 0.0 s" in last


def test_a_failed_step_says_so_and_fails() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="burnt"), Progress(stream=stream).step("baking"):
        raise ValueError("burnt")
    assert "baking: failed after" in stream.getvalue()


def test_it_is_never_silent_for_long() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream, heartbeat=0.1)
    with progress.step("baking"), progress.step("brewing"):
        time.sleep(0.35)
    signs = [line for line in stream.getvalue().splitlines() if "still at it: baking; brewing" in line]
    assert 1 <= len(signs) <= 4

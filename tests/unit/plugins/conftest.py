# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of modules and action plugins run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.plugins.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine.made(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all tests of a file that look and try, and change nothing."""
    with Machine.made(tmp_path_factory.mktemp("machine")) as made:
        yield made

# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of modules and action plugins run on."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils import managed_files

from tests.unit.plugins.machine import Machine
from tests.unit.plugins.relay_host import Relay


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine.made(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all tests of a file that look and try, and change nothing."""
    with Machine.made(tmp_path_factory.mktemp("machine")) as made:
        yield made


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    """A host in a directory, with an agent that does as it is told."""
    monkeypatch.setattr(managed_files, "OWNER", getpass.getuser())
    return Relay(tmp_path)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Relays without a certificate, and with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.certificates.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def issued(world: World) -> World:
    """A relay with a certificate of today."""
    assert world.run().changed
    world.events.clear()
    world.asked.clear()
    world.reloads = 0
    return world

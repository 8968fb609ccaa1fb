# SPDX-License-Identifier: GPL-3.0-or-later
"""The action agent_release in a playbook: a release that is built is sent once and installed."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.action.agent_release import cache_directory
from ansible_collections.postroad.relay.plugins.plugin_utils.release_build import Platform, ReleaseBuilder, SourceTree

from tests.unit.plugins.machine import ROOT, Machine, Play
from tests.unit.plugins.releases import archive

TASK: dict[str, dict[str, str]] = {"postroad.relay.agent_release": {}}


@pytest.fixture(scope="module")
def collection(shared_machine: Machine) -> Path:
    """A copy of this checkout as a collection, which keeps what it builds to itself."""
    copy = shared_machine.scratch / "collections" / "ansible_collections" / "postroad" / "relay"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("plugins", "relay_agent", "locks", "meta"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE", "galaxy.yml"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def release(collection: Path) -> str:
    """The id for this host, with a build of it in the cache: a real one would fetch the agent's dependencies."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    glibc = os.confstr("CS_GNU_LIBC_VERSION")
    assert glibc is not None
    platform = Platform(python=version, machine=os.uname().machine, glibc=glibc.partition(" ")[2])
    cache = collection / ".build"
    builder = ReleaseBuilder(SourceTree.read(collection), cache, report=lambda text: None)
    name = builder.release_id(platform)
    (cache / "releases").mkdir(parents=True)
    archive(cache / "releases" / f"{name}.tar.gz", name)
    return name


@pytest.fixture(scope="module")
def play(shared_machine: Machine, collection: Path, release: str) -> Play:
    """One playbook, since each start of Ansible takes its second."""
    break_checkout = f"rm {collection}/locks/agent.txt"
    return shared_machine.play(
        [
            {"name": "planned", **TASK, "check_mode": True},
            {"name": "untouched", "ansible.builtin.raw": "ls /opt/postroad"},
            {"name": "installed", **TASK},
            {"name": "kept", **TASK},
            {"name": "break", "ansible.builtin.raw": break_checkout},
            {"name": "unbuildable", **TASK},
        ],
        collections=collection.parents[2],
    )


def test_check_mode_tells_what_will_be_installed(play: Play, release: str) -> None:
    planned, installed = play.results["planned"], play.results["installed"]
    assert planned["changed"]
    assert planned["release"] == installed["release"] == release
    assert planned["diff"] == installed["diff"]
    assert planned["diff"]["after"] == f"none (current)\n{release} (installed beside it)\n"
    assert play.results["untouched"]["rc"] != 0


def test_release_is_on_the_host_and_not_current(play: Play, shared_machine: Machine, release: str) -> None:
    installed = play.results["installed"]
    assert not installed["failed"]
    assert (installed["changed"], installed["current"], installed["installed"]) == (True, None, [release])
    assert shared_machine.sh(f"/opt/postroad/releases/{release}/bin/relay-agent x") == "['x']\n"


def test_release_that_is_there_is_not_sent_again(play: Play, release: str) -> None:
    kept = play.results["kept"]
    assert (kept["changed"], kept["release"]) == (False, release)
    assert "diff" not in kept
    assert play.output.count(f"installing release {release}") == 1


def test_checkout_that_cannot_be_built_is_told(play: Play) -> None:
    broken = play.results["unbuildable"]
    assert broken["failed"]
    assert broken["msg"].startswith("the agent could not be built on the controller: cannot read the agent's sources")
    assert "locks/agent.txt" in broken["msg"]


def test_builds_are_kept_in_a_checkout_that_can_be_written() -> None:
    assert cache_directory() == ROOT / ".build"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of releases, tags of platforms, and the wheel built twice with equal bytes."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.release_build import (
    BuildError,
    Platform,
    ReleaseBuilder,
    SourceTree,
)

ROOT = Path(__file__).parents[3]
BOOKWORM = Platform(python="3.11", machine="x86_64", glibc="2.36")
TRIXIE_ARM = Platform(python="3.13", machine="aarch64", glibc="2.41")


@pytest.fixture(scope="module")
def source() -> SourceTree:
    return SourceTree.read(ROOT)


def builder(source: SourceTree, cache: Path) -> ReleaseBuilder:
    return ReleaseBuilder(source, cache, report=lambda text: None)


def test_tags_go_from_the_target_s_glibc_down() -> None:
    tags = TRIXIE_ARM.tags()
    assert tags[0] == "manylinux_2_41_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} < set(tags)
    assert "manylinux_2_42_aarch64" not in tags
    assert TRIXIE_ARM.interpreter_tag == "cp313"


def test_an_unknown_libc_is_refused() -> None:
    with pytest.raises(BuildError, match="glibc 3"):
        replace(BOOKWORM, glibc="3.0").tags()


def test_each_platform_has_a_release_of_its_own(source: SourceTree, tmp_path: Path) -> None:
    named = builder(source, tmp_path).release_id
    platforms = [BOOKWORM, TRIXIE_ARM, replace(BOOKWORM, machine="aarch64"), replace(BOOKWORM, glibc="2.41")]
    assert len({named(platform) for platform in platforms}) == len(platforms)
    assert named(BOOKWORM) == named(BOOKWORM)


def edited(name: str, change: Callable[[bytes], bytes], source: SourceTree) -> SourceTree:
    return replace(source, files=source.files | {name: change(source.files[name])})


def test_the_name_follows_code_and_dependencies(source: SourceTree, tmp_path: Path) -> None:
    name = builder(source, tmp_path).release_id(BOOKWORM)
    code = edited("relay_agent/__init__.py", lambda text: text + b"\n", source)
    assert builder(code, tmp_path).release_id(BOOKWORM) != name
    assert builder(replace(source, lock=source.lock + b"#"), tmp_path).release_id(BOOKWORM) != name
    metadata = edited(
        "pyproject.toml", lambda text: text.replace(b"requires-python", b"keywords2 = []\nrequires-python"), source
    )
    assert builder(metadata, tmp_path).release_id(BOOKWORM) != name


def test_the_name_does_not_follow_prose_or_linters(source: SourceTree, tmp_path: Path) -> None:
    name = builder(source, tmp_path).release_id(BOOKWORM)
    other = edited("README.md", lambda text: text + b"more", source)
    other = edited("pyproject.toml", lambda text: text.replace(b"line-length = 120", b"line-length = 99"), other)
    assert builder(other, tmp_path).release_id(BOOKWORM) == name


def test_the_wheel_is_reproducible(source: SourceTree, tmp_path: Path) -> None:
    wheels = [builder(source, tmp_path / name)._wheel().read_bytes() for name in ("one", "two")]
    assert wheels[0] == wheels[1]


def test_the_cache_keeps_what_was_made_last(source: SourceTree, tmp_path: Path) -> None:
    for number in range(12):
        old = tmp_path / "wheels" / f"old{number}"
        old.mkdir(parents=True)
        os.utime(old, (number, number))
    made = builder(source, tmp_path)._wheel().parent
    left = {path.name for path in (tmp_path / "wheels").iterdir()}
    assert left == {made.name, *(f"old{number}" for number in range(5, 12))}


def test_a_failed_build_says_why_and_leaves_nothing(source: SourceTree, tmp_path: Path) -> None:
    broken = edited("pyproject.toml", lambda text: text.replace(b'requires = ["hatchling', b'requires = [["'), source)
    broken = replace(broken, files=broken.files | {"pyproject.toml": b"[project]\nname = 1\n"})
    with pytest.raises(BuildError, match="pip wheel failed"):
        builder(broken, tmp_path)._wheel()
    assert not list((tmp_path / "wheels").glob("*"))
    assert not list(tmp_path.glob(".work-*"))


def test_a_checkout_without_the_agent(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot read"):
        SourceTree.read(tmp_path)

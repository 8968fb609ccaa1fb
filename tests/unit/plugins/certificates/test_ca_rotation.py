# SPDX-License-Identifier: GPL-3.0-or-later
"""From one authority to the next: each stage once, in its turn, and finished when it was cut short."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates import ca_rotation
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.ca_rotation import CaRotation, StageResult
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import CertificateError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa, write_whole
from cryptography.x509 import Certificate

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LATER = NOW + timedelta(days=15)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    PrivateCa.open_or_create(tmp_path, now=NOW - timedelta(days=400))
    return tmp_path


def run(directory: Path, stage: str, *, now: datetime = NOW, check: bool = False) -> StageResult:
    return CaRotation(directory, check_mode=check, now=now).run(stage)


def trusted(directory: Path) -> list[Certificate]:
    return PrivateCa.read_trusted(directory)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name not in (".lock", ".gitignore")}


def test_from_the_old_authority_to_the_new(directory: Path) -> None:
    (old,) = trusted(directory)
    assert "rotate_ca_stage=prepare" in run(directory, "status").text
    for stage, now in (("prepare", NOW), ("switch", LATER), ("finish", LATER)):
        before = files(directory)
        told = run(directory, stage, now=now, check=True)
        assert files(directory) == before
        done = run(directory, stage, now=now)
        assert done.changed
        assert (told.changed, told.before, told.after) == (True, done.before, done.after)
        after = files(directory)
        again = run(directory, stage, now=now)
        assert not again.changed
        assert files(directory) == after
        if stage == "prepare":
            assert trusted(directory)[0] == old
            new = trusted(directory)[1]
            assert PrivateCa.open_or_create(directory).certificate == old
            assert "rotate_ca_stage=switch" in run(directory, "status").text
        elif stage == "switch":
            assert trusted(directory) == [new, old]
            assert PrivateCa.open_or_create(directory).certificate == new
            assert "rotate_ca_stage=finish" in run(directory, "status").text
    assert trusted(directory) == [new]
    assert sorted(files(directory)) == ["ca.key", "ca.pem"]
    assert PrivateCa.open_or_create(directory).certificate == new


def test_people_have_time_to_install_it(directory: Path) -> None:
    run(directory, "prepare")
    with pytest.raises(CertificateError, match="people have 14 days to install it; run again in 9 days"):
        run(directory, "switch", now=NOW + timedelta(days=5))
    assert CaRotation(directory, now=NOW).run("switch", wait=timedelta()).changed


@pytest.mark.parametrize(
    ("done", "stage", "said"),
    [
        ((), "switch", "rotate_ca_stage=prepare comes first"),
        (("prepare",), "finish", "rotate_ca_stage=switch comes first"),
        (("prepare", "switch"), "prepare", "rotate_ca_stage=finish comes first"),
        (("prepare", "switch"), "cancel", "show the new authority already"),
    ],
)
def test_a_stage_has_its_turn(directory: Path, done: tuple[str, ...], stage: str, said: str) -> None:
    for each in done:
        run(directory, each, now=LATER if each == "switch" else NOW)
    before = files(directory)
    with pytest.raises(CertificateError, match=said):
        run(directory, stage, now=LATER)
    assert files(directory) == before


def test_a_preparation_can_be_taken_back(directory: Path) -> None:
    before = files(directory)
    run(directory, "prepare")
    assert run(directory, "cancel").changed
    assert files(directory) == before
    assert not run(directory, "cancel").changed


class PowerCutError(Exception):
    """The machine went away."""


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("stage", ["prepare", "switch", "finish"])
def test_a_stage_that_was_cut_short_is_finished(
    directory: Path, stage: str, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("prepare", "switch", "finish")[: ("prepare", "switch", "finish").index(stage)]:
        run(directory, each, now=LATER if each == "switch" else NOW)
    left = [writes]

    def write(path: Path, content: bytes, mode: int) -> None:
        if path.name != ".gitignore":
            if not left[0]:
                raise PowerCutError
            left[0] -= 1
        write_whole(path, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(ca_rotation, "write_whole", write)
        try:
            run(directory, stage, now=LATER)
        except PowerCutError:
            if writes:
                assert f"rotate_ca_stage={stage}" in run(directory, "status", now=LATER).text
    run(directory, stage, now=LATER)
    for each in ("prepare", "switch", "finish")[("prepare", "switch", "finish").index(stage) + 1 :]:
        assert run(directory, each, now=LATER + timedelta(days=15)).changed
    assert sorted(files(directory)) == ["ca.key", "ca.pem"]
    assert PrivateCa.open_or_create(directory).certificate == trusted(directory)[0]


def test_the_keys_are_kept_out_of_git_and_from_others(directory: Path) -> None:
    run(directory, "prepare")
    assert {"ca.key", "next.key", "previous.key"} <= set((directory / ".gitignore").read_text().split())
    assert (directory / "next.key").stat().st_mode & 0o777 == 0o600


def test_without_an_authority(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"no authority yet: site\.yml makes the first"):
        run(tmp_path, "prepare")

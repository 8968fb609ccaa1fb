# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories on a real disk: what counts as a difference, what a diff shows, what a failure leaves."""

import os
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.managed_files import (
    ManagedDirectory,
    ManagedFile,
    fingerprint,
)

GROUP = "nogroup"
"""Is on every Debian and owns nothing."""


@pytest.fixture(autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "these files are given to root and to a group: run the tests as root"


def rights(path: Path) -> tuple[str, str, int]:
    return path.owner(), path.group(), path.stat().st_mode & 0o7777


def test_file_is_written_once(tmp_path: Path) -> None:
    file = ManagedFile(tmp_path / "agent.toml", "one\n", mode=0o640, group=GROUP)
    assert file.current() is None
    assert file.differs()
    file.write()
    assert not file.differs()
    assert file.current() == "one\n"
    assert rights(file.path) == ("root", GROUP, 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.toml"]


def test_each_right_counts(tmp_path: Path) -> None:
    file = ManagedFile(tmp_path / "agent.toml", "one\n", mode=0o640, group=GROUP)
    for spoil in (
        lambda: file.path.chmod(0o644),
        lambda: os.chown(file.path, 65534, -1),
        lambda: os.chown(file.path, -1, 0),
        lambda: file.path.write_text("two\n"),
        file.path.unlink,
    ):
        file.write()
        assert not file.differs()
        spoil()
        assert file.differs()


def test_a_reader_never_sees_a_half(tmp_path: Path) -> None:
    file = ManagedFile(tmp_path / "agent.toml", "old\n")
    file.write()
    with file.path.open() as reader:
        ManagedFile(file.path, "new\n").write()
        assert reader.read() == "old\n"
    assert file.current() == "new\n"


def test_nobody_reads_it_before_its_rights_are_set(tmp_path: Path) -> None:
    """Whatever the umask: between creation and chown the file is its writer's alone."""
    old = os.umask(0)
    try:
        beside = ManagedFile(tmp_path / "key", "s3cret", mode=0o600).write_beside()
    finally:
        os.umask(old)
    assert rights(beside) == ("root", "root", 0o600)
    assert beside.parent == tmp_path
    assert beside.name.startswith(".key.")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    ManagedFile(tmp_path / "agent.toml", "old\n").write()
    with pytest.raises(OSError, match="no user root or no group postroad-no-such-group"):
        ManagedFile(tmp_path / "agent.toml", "new\n", group="postroad-no-such-group").write()
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        ManagedFile(tmp_path / "taken", "new\n").write()
    assert {path.name for path in tmp_path.iterdir()} == {"agent.toml", "taken"}
    assert (tmp_path / "agent.toml").read_text() == "old\n"


def test_a_group_that_is_not_there_yet_is_a_difference(tmp_path: Path) -> None:
    """Check mode on a bare host: to be told, and no error."""
    (tmp_path / "agent.toml").write_text("one\n")
    assert ManagedFile(tmp_path / "agent.toml", "one\n", group="postroad-no-such-group").differs()
    assert ManagedDirectory(tmp_path, group="postroad-no-such-group").differs()


def test_diff_of_content(tmp_path: Path) -> None:
    file = ManagedFile(tmp_path / "agent.toml", "one\n")
    header = {"before_header": str(file.path), "after_header": str(file.path)}
    assert file.diff() == {**header, "before": "", "after": "one\n"}
    file.write()
    assert ManagedFile(file.path, "two\n").diff() == {**header, "before": "one\n", "after": "two\n"}


def test_diff_of_rights_alone_says_so(tmp_path: Path) -> None:
    ManagedFile(tmp_path / "agent.toml", "one\n").write()
    diff = ManagedFile(tmp_path / "agent.toml", "one\n", mode=0o640, group=GROUP).diff()
    assert (diff["before"], diff["after"]) == ("(other owner or mode)\n", f"root:{GROUP} 0640\n")


def test_diff_of_a_secret_shows_none(tmp_path: Path) -> None:
    first = ManagedFile(tmp_path / "password", "s3cret-1\n", secret=True)
    assert (first.diff()["before"], first.diff()["after"]) == ("", "(new secret)\n")
    first.write()
    second = ManagedFile(tmp_path / "password", "s3cret-2\n", secret=True)
    assert (second.diff()["before"], second.diff()["after"]) == ("(secret)\n", "(new secret)\n")
    assert "s3cret" not in repr(second.diff())


def test_diff_of_a_secrets_rights_does_not_speak_of_a_new_one(tmp_path: Path) -> None:
    ManagedFile(tmp_path / "password", "s3cret\n", secret=True).write()
    diff = ManagedFile(tmp_path / "password", "s3cret\n", mode=0o640, group=GROUP, secret=True).diff()
    assert (diff["before"], diff["after"]) == ("(other owner or mode)\n", f"root:{GROUP} 0640\n")


def test_a_file_that_is_no_text_differs_and_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe\x00")
    file = ManagedFile(tmp_path / "agent.toml", "one\n")
    assert file.differs()
    assert file.diff()["after"] == "one\n"
    file.write()
    assert not file.differs()


def test_other_line_ends_differ(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"one\r\n")
    assert ManagedFile(tmp_path / "agent.toml", "one\n").differs()


def test_a_secret_is_not_in_its_representation(tmp_path: Path) -> None:
    assert "s3cret" not in repr(ManagedFile(tmp_path / "password", "s3cret\n", secret=True))


def test_directory(tmp_path: Path) -> None:
    directory = ManagedDirectory(tmp_path / "a" / "b", mode=0o750, group=GROUP)
    assert directory.differs()
    directory.ensure()
    assert not directory.differs()
    assert rights(directory.path) == ("root", GROUP, 0o750)
    directory.path.chmod(0o777)
    assert directory.differs()
    directory.ensure()
    assert not directory.differs()


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    directory = ManagedDirectory(tmp_path / "etc")
    assert directory.differs()
    with pytest.raises(FileExistsError):
        directory.ensure()
    assert ManagedFile(tmp_path / "etc" / "agent.toml", "").current() is None


def test_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    absent = fingerprint(one, two)
    two.write_text("2")
    both = fingerprint(one, two)
    assert both == fingerprint(two, one) != absent
    two.write_text("")
    assert fingerprint(one, two) not in (both, absent)
    one.write_text("2")
    two.write_text("1")
    assert fingerprint(one, two) != both

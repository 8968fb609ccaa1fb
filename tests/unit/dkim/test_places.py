# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from relay_agent.config.schema import Dkim, DkimKey
from relay_agent.dkim.places import DkimError, key_files


def test_given_keys_first_then_the_directory_in_order(tmp_path: Path) -> None:
    for name in ("b.test/two.pem", "b.test/one.pem", "a.test/s.pem", "a.test/.s.pem.tmp", "a.test/readme", ".x/s.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    given = DkimKey(domain="C.test", selector="Own", file=Path("/elsewhere"))
    assert key_files(Dkim(directory=tmp_path, key=(given,))) == [
        (Path("/elsewhere"), "c.test", "own", True),
        (tmp_path / "a.test/s.pem", "a.test", "s", False),
        (tmp_path / "b.test/one.pem", "b.test", "one", False),
        (tmp_path / "b.test/two.pem", "b.test", "two", False),
    ]


def test_what_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DkimError, match="not a directory"):
        key_files(Dkim(directory=tmp_path / "file"))

# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from benchmarks.measure import compile_agent
from benchmarks.rivals.relay import RelayError


def test_the_bytecode_is_on_the_disk_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "module.py").write_text("x = 1\n")
    compile_agent(tmp_path)
    assert [path.name.partition(".")[0] for path in (tmp_path / "inner" / "__pycache__").iterdir()] == ["module"]


def test_what_cannot_be_compiled_is_said(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x =\n")
    with pytest.raises(RelayError, match="could not be compiled"):
        compile_agent(tmp_path)

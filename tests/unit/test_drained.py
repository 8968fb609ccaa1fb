# SPDX-License-Identifier: GPL-3.0-or-later
"""A file beside the configuration drains the host, whatever is in it."""

from pathlib import Path

import pytest

from relay_agent.drained import NAME, Drained, drained


def test_without_the_file_the_host_takes_mail(tmp_path: Path) -> None:
    assert drained(tmp_path / "agent.toml") is None


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ('{"since": 5.5, "because": "new host"}', Drained(5.5, "new host")),
        ("{}", Drained()),
        ("", Drained()),
        ("[1]", Drained()),
        ('{"since": "yesterday"}', Drained()),
    ],
)
def test_the_file_counts_whatever_it_says(tmp_path: Path, content: str, meant: Drained) -> None:
    (tmp_path / NAME).write_text(content)
    assert drained(tmp_path / "agent.toml") == meant

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which domains an entry is for."""

from __future__ import annotations

import pytest

from relay_agent.delivery.patterns import in_domains


@pytest.mark.parametrize(
    ("patterns", "domain", "expected"),
    [
        (["example.org"], "EXAMPLE.org", True),
        (["example.org"], "a.example.org", False),
        (["*.example.org"], "a.b.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "badexample.org", False),
        (["xn--bcher-kva.example"], "b\u00fccher.example", True),
        (["*"], "[192.0.2.1]", True),
        (["example.org"], "[192.0.2.1]", False),
        ([], "example.org", False),
    ],
)
def test_in_domains(patterns: list[str], domain: str, expected: bool) -> None:
    assert in_domains(patterns, domain) is expected

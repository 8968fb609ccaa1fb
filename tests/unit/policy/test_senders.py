# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.policy.senders import AllowedSenders, allowed_senders, normalise_pattern


def senders(*patterns: str) -> AllowedSenders:
    return AllowedSenders(normalise_pattern(pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("pattern", "fits", "differs"),
    [
        (
            "Alice@Example.org",
            ["alice@example.org", "ALICE@EXAMPLE.ORG", "alice+news@example.org", '"alice"@example.org'],
            [
                "bob@example.org",
                "alice@example.net",
                "alice@sub.example.org",
                "malice@example.org",
                "+alice@example.org",
            ],
        ),
        ("alice+news@example.org", ["alice+news@example.org"], ["alice@example.org", "alice+other@example.org"]),
        ("@example.org", ["x@example.org", '"a@b"@example.org'], ["x@sub.example.org", "x@badexample.org"]),
        ("*@example.org", ["x@example.org"], ["x@example.net"]),
        ("example.org", ["x@example.org"], ["x@example.net"]),
        ("@*.example.org", ["x@a.example.org", "x@a.b.example.org"], ["x@example.org", "x@badexample.org"]),
        ("sales-*@example.org", ["sales-uk@example.org", "sales-uk+x@example.org"], ["sale@example.org"]),
        ("*", ["x@anything.test"], []),
        ("a@straße.test", ["a@xn--strae-oqa.test", "a@STRASSE.test".replace("SS", "ß")], ["a@strasse.test"]),
        ("Bjørn@example.org", ["bjørn@example.org", "BJØRN@example.org"], ["bjorn@example.org"]),
        ("a@[192.0.2.1]", ["a@[192.0.2.1]"], ["a@192.0.2.2"]),
        ("alice@example.org", [], ["", "alice", "@example.org", "alice@", "alice@-.-", "a" * 600 + "@example.org"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], differs: list[str]) -> None:
    allowed = senders(pattern)
    assert [address for address in fits if not allowed.permits(address)] == []
    assert [address for address in differs if allowed.permits(address)] == []


def test_the_first_whole_address_is_the_accounts_own() -> None:
    assert senders("@example.org", "sales-*@b.test", "alice@example.org", "bob@b.test").first == "alice@example.org"
    assert senders("*", "@example.org").first == ""
    assert allowed_senders(("a@b.test",)) is allowed_senders(("a@b.test",))


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "alice",
        "a b@example.org",
        "a@",
        "a@b..c",
        ".a@b.test",
        "a..b@c.test",
        "a@*",
        "<a@b.test>",
        "a@*.",
        "a@b@c.test",
    ],
)
def test_no_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        normalise_pattern(pattern)


@given(st.text(max_size=30), st.sampled_from(["a@b.test", "@b.test", "@*.b.test", "a*@b.test"]))
def test_no_address_raises(address: str, pattern: str) -> None:
    senders(pattern).permits(address)
    senders(pattern).permits(f"{address}@b.test")

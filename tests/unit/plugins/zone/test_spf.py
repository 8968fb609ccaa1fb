# SPDX-License-Identifier: GPL-3.0-or-later
"""SPF policies: one of our own, and ours put into somebody's."""

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import SpfError, default_spf, merged_spf

OURS = ("ip4:192.0.2.1", "ip6:2001:db8::1")


def test_one_of_our_own() -> None:
    assert default_spf(OURS, "~all") == "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all"


@pytest.mark.parametrize("mechanism", ['a" "b', "include:x y", "nonsense", "ip4:1\nb TXT x", "exp=x"])
def test_what_is_no_mechanism(mechanism: str) -> None:
    with pytest.raises(SpfError, match="is no mechanism"):
        default_spf([mechanism], "-all")


def test_what_is_no_end() -> None:
    with pytest.raises(SpfError, match="is no end"):
        default_spf(OURS, "all")


@pytest.mark.parametrize(
    ("policy", "merged"),
    [
        ("v=spf1 -all", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"),
        ("v=spf1 mx include:a.example ?all", "v=spf1 mx include:a.example ip4:192.0.2.1 ip6:2001:db8::1 ?all"),
        ("v=spf1 mx", "v=spf1 mx ip4:192.0.2.1 ip6:2001:db8::1"),
        ("v=spf1 redirect=_spf.example.net", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 redirect=_spf.example.net"),
        ("v=spf1 ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"),
        ("v=spf1 +IP6:2001:DB8::1 -all", "v=spf1 +IP6:2001:DB8::1 ip4:192.0.2.1 -all"),
    ],
)
def test_ours_is_put_ahead_of_the_end(policy: str, merged: str) -> None:
    assert merged_spf(policy, OURS) == merged
    assert merged_spf(merged, OURS) == merged


@pytest.mark.parametrize(
    "policy", ["v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", "V=SPF1 IP4:192.0.2.1/32 ip6:2001:db8::1 -all"]
)
def test_what_is_covered_stays_as_it_is(policy: str) -> None:
    assert merged_spf(policy, OURS) == policy


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("v=spf1 ipv4:192.0.2.1 -all", "is nothing that SPF knows"),
        ("v=spf10 -all", "is no SPF policy"),
        ("v=spf1 -IP4:192.0.2.1 mx -all", "comes before what would let the relays pass"),
        ("", "is no SPF policy"),
        ("v=spf1 " + " ".join(f"include:host{number}.example.net" for number in range(20)) + " -all", "too many"),
    ],
)
def test_what_has_to_be_changed_by_hand(policy: str, said: str) -> None:
    with pytest.raises(SpfError, match=said):
        merged_spf(policy, OURS)

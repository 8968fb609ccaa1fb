# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server has next to what it should have; what others have put in stays."""

from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import judge, leftovers
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record

A, B, X = "192.0.2.1", "192.0.2.2", "203.0.113.9"


def wanted(*values: str, **more: Any) -> Record:
    chosen: dict[str, Any] = {"kind": "A", "why": "a test", "ttl": 60, **more}
    return Record("mail.example.org.", values=values, **chosen)


def s(*values: str) -> frozenset[str]:
    return frozenset(values)


def test_good() -> None:
    judged = judge(wanted(A, B), s(A, B))
    assert (judged.state, judged.add, judged.remove, judged.says) == ("good", s(), s(), "")


def test_missing() -> None:
    judged = judge(wanted(A, B), s())
    assert (judged.state, judged.add, judged.remove) == ("missing", s(A, B), s())
    assert judge(wanted(A, B), s(A)).says == f"lacks {B}"


def test_what_was_ours_goes_and_what_was_not_stays() -> None:
    judged = judge(wanted(A), s(B, X), published=s(B))
    assert (judged.state, judged.add, judged.remove, judged.unwanted) == ("wrong", s(A), s(B), s(X))


def test_somebody_else_s_beside_ours_is_told() -> None:
    judged = judge(wanted(A), s(A, X))
    assert (judged.state, judged.add, judged.remove, judged.unwanted) == ("foreign", s(), s(), s(X))
    assert judged.says == f"also has {X}"


def test_an_alias_that_leads_elsewhere_is_not_replaced() -> None:
    judged = judge(wanted("a.example.", kind="CNAME"), s("b.example."))
    assert (judged.state, judged.add, judged.remove) == ("wrong", s(), s())
    ours = judge(wanted("a.example.", kind="CNAME"), s("b.example."), published=s("b.example."))
    assert (ours.add, ours.remove) == (s("a.example."), s("b.example."))


def test_a_list_that_the_relays_keep_is_good_with_one_of_them() -> None:
    record = wanted(A, B, rule="any")
    judged = judge(record, s(A), ttl=60)
    assert (judged.state, judged.add, judged.remove) == ("good", s(), s())
    assert judged.says == f"{B} is out of the list now"
    assert judge(record, s()).add == s(A, B)
    assert judge(record, s(A, X), published=s(X)).remove == s(X)
    assert judge(record, s(A, X)).unwanted == s(X)


def test_a_list_that_is_remembered_too_long_is_put_in_again() -> None:
    judged = judge(wanted(A, B, rule="any"), s(A), ttl=3600)
    assert (judged.state, judged.add, judged.remove) == ("wrong", s(A), s(A))


def policy(**more: Any) -> Record:
    chosen: dict[str, Any] = {"kind": "TXT", "rule": "spf", "beginning": "v=spf1", "mechanisms": ("ip4:192.0.2.1",)}
    return wanted('"v=spf1 ip4:192.0.2.1 ~all"', **(chosen | more))


def test_an_spf_policy_is_merged_and_its_neighbours_are_left() -> None:
    judged = judge(policy(), s('"v=spf1 mx -all"', '"other=1"', '"v=spf100"'))
    assert judged.add == s('"v=spf1 mx ip4:192.0.2.1 -all"')
    assert judged.remove == s('"v=spf1 mx -all"')
    assert judged.says == "lacks ip4:192.0.2.1"
    assert judge(policy(), s('"v=spf1 ip4:192.0.2.0/24 -all"')).state == "good"
    assert judge(policy(), s('"other=1"')).add == s('"v=spf1 ip4:192.0.2.1 ~all"')


def test_two_spf_policies_are_for_the_operator() -> None:
    judged = judge(policy(), s('"v=spf1 -all"', '"v=spf1 mx -all"'))
    assert (judged.state, judged.add, judged.remove) == ("wrong", s(), s())
    assert "receivers ignore them all" in judged.says


def test_a_broken_spf_policy_is_for_the_operator() -> None:
    judged = judge(policy(), s('"v=spf1 nonsense -all"'))
    assert (judged.state, judged.add, judged.remove) == ("wrong", s(), s())
    assert "by hand" in judged.says


def test_a_dmarc_record_that_is_there_stays_whatever_it_says() -> None:
    record = wanted('"v=DMARC1; p=none"', kind="TXT", rule="default", beginning="v=DMARC1")
    assert judge(record, s('"v=DMARC1;p=reject"')).state == "good"
    assert judge(record, s()).add == s('"v=DMARC1; p=none"')
    assert judge(record, s('"v=DMARC1;p=reject"', '"v=DMARC1; p=none"')).state == "wrong"
    ours = judge(record, s('"v=DMARC1; p=quarantine"'), published=s('"v=DMARC1; p=quarantine"'))
    assert (ours.add, ours.remove) == (s('"v=DMARC1; p=none"'), s('"v=DMARC1; p=quarantine"'))


def test_names_that_are_not_wanted_any_more() -> None:
    published = {("old.example.org.", "TXT"): s('"x"'), ("mail.example.org.", "A"): s(A)}
    (gone,) = leftovers([wanted(A)], published)
    judged = judge(gone, s('"x"', '"y"'), published["old.example.org.", "TXT"])
    assert (judged.add, judged.remove, judged.unwanted) == (s(), s('"x"'), s('"y"'))

# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step of a rotation, from what the relays have and DNS says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.dkim_rotation import (
    RotationError,
    RotationWish,
    plan_rotation,
)

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WISH = RotationWish(domain="a.test")


def key(selector: str, state: str = "active", days: float = 1, **changed: Any) -> dict[str, Any]:
    since = f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    left = max(0, round(12 - days)) * 86_400 if state == "retired" else None
    name = f"{selector}._domainkey.a.test"
    found = {"selector": selector, "state": state, "since": since, "given": False, "delete_in": left, "name": name}
    return found | {"value": f"v=DKIM1; p={selector}", "zone": f'{name}. IN TXT "{selector}"'} | changed


def relay(*keys: dict[str, Any], dns: str = "published") -> dict[str, Any]:
    rows = [
        {"selector": each["selector"], "dns": dns, "reason": "" if dns == "published" else "no TXT record"}
        for each in keys
    ]
    return {"found": list(keys), "published": rows}


def both(*keys: dict[str, Any], dns: str = "published") -> dict[str, Any]:
    return {"r1": relay(*keys, dns=dns), "r2": relay(*keys, dns=dns)}


def test_the_first_keys_are_made_at_once() -> None:
    plan = plan_rotation(both(), WISH, NOW)
    assert (plan.step, plan.holder, plan.selector) == ("make", "r1", "20261128")
    assert plan.selectors == ["20261128-rsa", "20261128-ed25519"]
    assert "shared with r2" in plan.text


@pytest.mark.parametrize(
    ("wish", "selectors", "selector"),
    [
        (RotationWish(domain="a.test", algorithm="rsa"), ["20261128b-rsa"], "20261128b-rsa"),
        (RotationWish(domain="a.test", selector="x", algorithm="rsa"), ["x"], "x"),
        (RotationWish(domain="a.test", selector="x"), ["x-rsa", "x-ed25519"], "x"),
    ],
)
def test_selectors_are_new_ones(wish: RotationWish, selectors: list[str], selector: str) -> None:
    plan = plan_rotation(both(key("20261128-rsa", days=31)), wish, NOW)
    assert (plan.selectors, plan.selector) == (selectors, selector)


def test_a_selector_is_used_once() -> None:
    with pytest.raises(RotationError, match="rotate_dkim_selector: x-rsa is in use already"):
        plan_rotation(both(key("x-rsa", days=31)), RotationWish(domain="a.test", selector="x"), NOW)


def test_keys_come_to_all_relays() -> None:
    found = {"r1": relay(key("old")), "r2": relay(key("old"), key("new", "pending"))}
    plan = plan_rotation(found, WISH, NOW)
    assert (plan.step, plan.holder, plan.selectors) == ("share", "r2", ["new"])


def test_nothing_signs_before_every_relay_sees_its_record() -> None:
    keys = (key("old"), key("new", "pending"))
    found = {"r1": relay(*keys), "r2": relay(*keys, dns="missing")}
    plan = plan_rotation(found, WISH, NOW)
    assert plan.step == "wait"
    assert 'new._domainkey.a.test. IN TXT "new"' in plan.text
    assert ";   value  v=DKIM1; p=new\n" in plan.text
    assert "  no TXT record (asked by r2)\n" in plan.text
    assert plan_rotation(both(*keys), WISH, NOW).step == "activate"


def test_an_activation_that_broke_off_is_finished() -> None:
    found = {"r1": relay(key("old", "retired"), key("new")), "r2": relay(key("old"), key("new", "pending"))}
    plan = plan_rotation(found, WISH, NOW)
    assert (plan.step, plan.selectors) == ("activate", ["new"])


@pytest.mark.parametrize(("days", "step"), [(1, "keep"), (11, "keep"), (12.1, "delete")])
def test_the_old_key_is_kept_while_its_mail_is_on_its_way(days: float, step: str) -> None:
    plan = plan_rotation(both(key("old", "retired", days), key("new", days=days)), WISH, NOW)
    assert (plan.step, plan.selectors, plan.force) == (step, ["old"], False)
    assert "old._domainkey.a.test. TXT" in plan.text


def test_the_operators_days_count_instead() -> None:
    found = both(key("old", "retired", 3), key("new", days=3))
    shorter = plan_rotation(found, RotationWish(domain="a.test", keep_days=2), NOW)
    assert (shorter.step, shorter.force) == ("delete", True)
    assert "on its way for another 9.0 days" in shorter.text
    longer = plan_rotation(
        both(key("old", "retired", 13), key("new", days=13)), RotationWish(domain="a.test", keep_days=20), NOW
    )
    assert longer.step == "keep"
    assert "until 2026-12-05" in longer.text


def test_a_record_that_went_too_early_is_told() -> None:
    found = both(key("old", "retired"), key("new"), dns="missing")
    assert "can no longer be verified, put them back:\n  no TXT record" in plan_rotation(found, WISH, NOW).text


def test_a_key_that_still_signs_somewhere_is_not_removed() -> None:
    found = {"r1": relay(key("old", "retired", 20), key("new", days=20)), "r2": relay(key("old"), key("new", days=20))}
    assert plan_rotation(found, WISH, NOW).step == "make"


@pytest.mark.parametrize(("age", "after", "step"), [(29, 30, "rest"), (31, 30, "make"), (1, 0, "make")])
def test_a_rotation_begins_when_the_keys_are_old(age: float, after: float, step: str) -> None:
    wish = RotationWish(domain="a.test", after_days=after)
    assert plan_rotation(both(key("now", days=age)), wish, NOW).step == step


def test_relays_that_sign_with_different_keys_get_one() -> None:
    assert plan_rotation({"r1": relay(key("one")), "r2": relay(key("two"))}, WISH, NOW).step == "make"
    assert plan_rotation({"r1": relay(key("one")), "r2": relay()}, WISH, NOW).step == "make"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (both(key("x", given=True)), "x are given by relay_agent_dkim.keys"),
        ({"r1": relay(key("x")), "r2": relay(key("x", value="other"))}, "x is another key on each of r1, r2"),
        (
            {"r1": relay(key("a", "pending")), "r2": relay(key("b", "pending"))},
            "no relay has all of the pending keys a, b",
        ),
    ],
)
def test_what_is_not_mended_is_named(found: dict[str, Any], said: str) -> None:
    with pytest.raises(RotationError, match=said):
        plan_rotation(found, WISH, NOW)

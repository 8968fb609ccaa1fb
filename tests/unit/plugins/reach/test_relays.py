# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports of which relays are tried."""

from ansible_collections.postroad.relay.plugins.plugin_utils.reach.relays import Relay, relays_of

DEFAULTS = [{"port": 587, "tls": "starttls"}, {"port": 443, "tls": "implicit"}]


def test_the_relay_s_own_ports_or_the_role_s() -> None:
    own = [{"port": 2525, "tls": "auto"}, {"port": 24, "tls": "none", "address": "127.0.0.1"}]
    known = {
        "one": {},
        "two": {"relay_agent_hostname": "two.test", "relay_agent_listeners": own, "relay_status_siblings": "tests"},
    }
    one, two = relays_of(["one", "two"], known, DEFAULTS, [25, 443])
    assert one == Relay("one", "one", "relays", ((587, "starttls"), (443, "implicit")), (25,))
    assert one.ports == (587, 443, 25)
    # What listens on loopback is nobody's business elsewhere.
    assert two == Relay("two", "two.test", "tests", ((2525, "auto"),), (25, 443))


def test_a_port_behind_a_balancer_is_not_tried_past_it() -> None:
    own = [{"port": 587, "tls": "starttls"}, {"port": 10587, "tls": "starttls", "proxy_from": ["192.0.2.0/24"]}]
    (one,) = relays_of(["one"], {"one": {"relay_agent_listeners": own}}, DEFAULTS, [])
    assert one.ports == (587,)

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

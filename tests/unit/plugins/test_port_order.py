# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which a mail program is offered the ports."""

from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer, offers


def test_what_most_networks_let_through_comes_first() -> None:
    listeners = [
        {"port": 2525, "tls": "starttls"},
        {"port": 587, "tls": "starttls"},
        {"port": 2465, "tls": "implicit"},
        {"port": 465, "tls": "implicit"},
        {"port": 443, "tls": "implicit"},
    ]
    assert [offer.port for offer in offers(listeners)] == [443, 465, 587, 2465, 2525]


def test_an_auto_port_is_offered_in_both_ways_and_none_and_25_in_no_way() -> None:
    listeners = [{"port": 2000, "tls": "auto"}, {"port": 26, "tls": "none"}, {"port": 25, "tls": "starttls"}]
    assert offers(listeners) == [Offer(2000, "implicit"), Offer(2000, "starttls")]


def test_a_port_on_two_addresses_is_offered_once() -> None:
    listeners = [{"port": 465, "tls": "implicit", "address": "0.0.0.0"}, {"port": 465, "tls": "implicit"}]
    assert offers(listeners) == [Offer(465, "implicit")]

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a route and a hop may say, and what of it does not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from relay_agent.config.load import ConfigError, parse_config
from relay_agent.config.schema import Hop, Route

SIGNED = {"username": "u", "password_file": "/p"}
TOKENS = {"username": "u", "token_url": "https://id.test/token", "client_id": "c", "client_secret_file": "/s"}
PAIR = {"client_certificate": "/c", "client_key": "/k"}


@pytest.mark.parametrize(
    ("hop", "words"),
    [
        ({"username": "u"}, "go together"),
        ({"client_certificate": "/c"}, "client_certificate and client_key go together"),
        (SIGNED | {"tls": "none"}, "needs TLS"),
        (PAIR | {"tls": "none"}, "needs TLS"),
        ({"scope": "x"}, "scope is of no use without token_url"),
        ({"client_secret_file": "/s"}, "of no use without token_url"),
        (TOKENS | {"password_file": "/p"}, "exclude each other"),
        (TOKENS | {"token_command": ["/bin/x"]}, "exclude each other"),
        (TOKENS | {"username": None}, "needs a username"),
        (TOKENS | {"client_id": None}, "needs a client_id"),
        (TOKENS | {"client_secret_file": None}, "client_secret_file, refresh_token_file or both"),
        (TOKENS | {"token_url": "http://id.test/token"}, "token_url"),
        ({"username": "u", "token_command": ["x"]}, "whole path"),
        (SIGNED | {"auth": "external"}, "needs client_certificate"),
        (SIGNED | {"auth": "xoauth2"}, "needs token_url"),
        (TOKENS | {"auth": "scram-sha-256"}, "needs username and password_file"),
        ({"priority": -1}, "priority"),
        ({"weight": 0}, "weight"),
    ],
)
def test_hops_that_contradict_themselves(hop: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Hop.model_validate({"host": "a.test"} | hop)


@pytest.mark.parametrize(
    "hop", [{}, SIGNED, TOKENS, PAIR, SIGNED | PAIR, {"username": "u", "token_command": ["/bin/x", "y"]}]
)
def test_hops_that_are_well(hop: dict[str, Any]) -> None:
    Hop.model_validate({"host": "a.test"} | hop)


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({}, "either via"),
        ({"mx": True, "via": [{"host": "a"}]}, "either via"),
        ({"via": [{"host": "a", "priority": 1}, {"host": "b"}]}, "for all"),
        ({"via": [{"host": "a", "weight": 2}, {"host": "b"}]}, "give them a priority"),
        ({"mx": True, "source_address": "::1"}, "source_address"),
        ({"mx": True, "helo": "a b"}, "helo"),
    ],
)
def test_routes_that_contradict_themselves(route: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Route.model_validate(route)


def _problems(routes: str) -> dict[str, str]:
    text = 'hostname = "r.test"\n[tls]\ncertificate = "/c"\nkey = "/k"\n[[listener]]\nport = 587\ntls = "starttls"\n'
    try:
        parse_config(text + routes, "f")
    except ConfigError as error:
        return {problem.key: problem.problem for problem in error.problems}
    return {}


def test_a_route_for_some_leaves_the_others_to_the_next() -> None:
    some = '[[route]]\nsenders = ["a.test"]\nvia = [{ host = "a" }]\n'
    everything = '[[route]]\nvia = [{ host = "b" }]\n'
    assert _problems(some + some + everything) == {}
    assert "never reached" in _problems(everything + some)["route[1].domains[0]"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('senders = ["a@*"]', "route[0].senders[0]"),
        ('senders = ["@a.test"]', "route[0].senders[0]"),
        ('senders = ["<>", "not a domain"]', "route[0].senders[1]"),
        ('accounts = [" "]', "route[0].accounts[0]"),
    ],
)
def test_patterns_that_are_none(line: str, key: str) -> None:
    assert list(_problems(f"[[route]]\nmx = true\n{line}\n")) == [key]


def test_a_relay_is_in_a_pool_once() -> None:
    found = _problems('[[route]]\nvia = [{ host = "a" }, { host = "A" }]\n')
    assert "route[0].via[0] already" in found["route[0].via[1].host"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables to configuration, secrets and accounts."""

import tomllib
from typing import Any

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.agent_settings import (
    AgentSettings,
    SettingsError,
    build_settings,
)

from relay_agent.config.load import parse_config

BASE: dict[str, Any] = {
    "hostname": "relay.example.org",
    "listeners": [{"port": 587, "tls": "starttls", "address": None, "auth": None}],
    "submission": {},
    "routes": [],
    "delivery": {},
    "accounts": [],
}
HOP = {"host": "smtp.example.net", "port": 587, "username": "u", "password": "pw", "ca": None, "tls": None}


def build(**options: Any) -> AgentSettings:
    return build_settings(BASE | options)


def test_the_agent_takes_what_is_built() -> None:
    settings = build(
        submission={"trusted_networks": ["192.0.2.0/24"], "command_timeout": "5m"},
        delivery={"retry_for": "172800", "resolvers": ["127.0.0.1"]},
        routes=[{"domains": ["*"], "via": [HOP]}],
    )
    config = parse_config(settings.toml, "agent.toml")
    assert config.listener[0].port == 587
    assert config.delivery.retry_for == 172_800
    assert config.route[0].via[0].username == "u"


def test_what_was_not_given_is_not_written() -> None:
    document = tomllib.loads(build(submission={"max_recipients": None}).toml)
    assert document["listener"] == [{"port": 587, "tls": "starttls"}]
    assert "submission" not in document
    assert "route" not in document


def test_no_certificate_without_a_port_that_uses_it() -> None:
    assert "tls" not in tomllib.loads(build(listeners=[{"port": 587, "tls": "none"}]).toml)


def test_secrets_go_into_files_of_their_own() -> None:
    settings = build(routes=[{"domains": ["*"], "via": [HOP | {"ca": "PEM"}]}])
    assert settings.secrets == {
        "u@smtp.example.net-587.password": "pw\n",
        "smtp.example.net-587.ca.pem": "PEM\n",
    }
    assert "pw" not in settings.toml
    assert "pw" not in repr(settings)
    hop = tomllib.loads(settings.toml)["route"][0]["via"][0]
    assert hop["password_file"] == "/etc/postroad/secrets/u@smtp.example.net-587.password"
    assert hop["ca_file"] == "/etc/postroad/secrets/smtp.example.net-587.ca.pem"


def test_the_secrets_of_a_pool_and_of_the_fallback() -> None:
    token = {
        "host": "b.test",
        "username": "u",
        "token_url": "https://id.test/t",
        "client_id": "c",
        "client_secret": "s1",
        "refresh_token": "s2",
        "token_ca": "PEM",
    }
    shown = {"host": "c.test", "client_certificate": "CERT", "client_key": "KEY"}
    routes = [{"senders": ["a.test"], "via": [token, shown]}, {"mx": True, "source_address": "192.0.2.1"}]
    settings = build(routes=routes, delivery={"port25_check": [], "fallback_via": [HOP]})
    assert settings.secrets == {
        "u@b.test-587.secret": "s1\n",
        "u@b.test-587.refresh": "s2\n",
        "b.test-587.token-ca.pem": "PEM\n",
        "@c.test-587.client_certificate.pem": "CERT\n",
        "@c.test-587.client_key.pem": "KEY\n",
        "u@smtp.example.net-587.password": "pw\n",
    }
    assert all(secret not in settings.toml for secret in ("s1", "s2", "KEY"))
    config = parse_config(settings.toml, "agent.toml")
    assert config.delivery.port25_check == ()
    assert config.route[0].via[0].refresh_token_file is not None
    assert config.route[1].mx


@pytest.mark.parametrize("username", ["../../../etc/shadow", "..", "a/b", "ü\n"])
def test_a_name_cannot_lead_out_of_the_directory(username: str) -> None:
    settings = build(routes=[{"domains": ["*"], "via": [HOP | {"username": username}]}])
    (name,) = settings.secrets
    assert "/" not in name
    assert not name.startswith(".")


def test_one_server_and_user_cannot_have_two_passwords() -> None:
    routes = [{"domains": ["a.example"], "via": [HOP]}, {"domains": ["*"], "via": [HOP | {"password": "other"}]}]
    with pytest.raises(SettingsError, match=r"routes\[1\]\.via\[0\]\.password: differs"):
        build(routes=routes)


@pytest.mark.parametrize(("password", "why"), [("", "empty"), ("a\nb", "line break"), ("a\0b", "NUL")])
def test_a_password_that_no_line_can_hold(password: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        build(routes=[{"domains": ["*"], "via": [HOP | {"password": password}]}])


def test_limits_reach_the_configuration_and_the_accounts() -> None:
    limits = {"messages_per_hour": 10, "messages_burst": None, "sessions": 0}
    settings = build(
        policy={"messages_per_hour": 100, "shut_out": "900", "shut_out_max": None},
        accounts=[{"name": "alice", "password": "x", "addresses": ["@example.org"], "limits": limits}],
    )
    assert tomllib.loads(settings.toml)["policy"] == {"messages_per_hour": 100, "shut_out": 900}
    assert settings.accounts[0]["limits"] == {"messages_per_hour": 10, "sessions": 0}
    assert settings.accounts[0]["addresses"] == ["@example.org"]


def test_the_keys_of_a_provider_go_into_a_file() -> None:
    settings = build(oauth={"issuer": "https://l.example/", "audience": ["x"], "jwks": '{"keys": []}', "leeway": "30"})
    assert settings.secrets == {"oauth.jwks.json": '{"keys": []}\n'}
    oauth = parse_config(settings.toml, "agent.toml").oauth
    assert oauth is not None
    assert (str(oauth.jwks_file), oauth.leeway) == ("/etc/postroad/secrets/oauth.jwks.json", 30)


def test_the_authorities_of_client_certificates_go_into_a_file() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"
    settings = build(tls={"client_ca": pem})
    assert settings.secrets == {"clients.ca.pem": pem + "\n"}
    tls = parse_config(settings.toml, "agent.toml").tls
    assert tls is not None
    assert str(tls.client_ca) == "/etc/postroad/secrets/clients.ca.pem"
    for given, problem in ((" ", "is empty"), ("people.pem", "is not PEM text")):
        with pytest.raises(SettingsError, match=rf"tls\.client_ca: {problem}"):
            build(tls={"client_ca": given})


def test_metrics_are_off_unless_their_port_is_given() -> None:
    assert "metrics" not in tomllib.loads(build(metrics={"address": None, "port": None}).toml)
    assert tomllib.loads(build(metrics={"address": None, "port": 9465}).toml)["metrics"] == {"port": 9465}


def test_what_is_kept_of_messages() -> None:
    assert "history" not in tomllib.loads(build(history={"enabled": None, "keep": None, "max_size": None}).toml)
    history = {"enabled": None, "keep": "604800", "max_size": 1 << 28}
    assert tomllib.loads(build(history=history).toml)["history"] == {"keep": 604800, "max_size": 1 << 28}


def test_signing_keys_go_into_files() -> None:
    key = {"domain": "example.org", "selector": "2026a", "key": "PEM"}
    options = {"domains": None, "subdomains": False, "expire_after": "2592000", "directory": None}
    settings = build(dkim=options | {"keys": [key]})
    assert settings.secrets == {"2026a._domainkey.example.org.dkim": "PEM\n"}
    assert "PEM" not in settings.toml
    dkim = parse_config(settings.toml, "agent.toml").dkim
    assert (dkim.subdomains, dkim.expire_after) == (False, 2_592_000)
    assert [(each.domain, each.selector, str(each.file)) for each in dkim.key] == [
        ("example.org", "2026a", "/etc/postroad/secrets/2026a._domainkey.example.org.dkim")
    ]
    assert "dkim" not in tomllib.loads(build(dkim={"keys": None}).toml)
    with pytest.raises(SettingsError, match=r"dkim\.keys\[0\]\.key: is empty"):
        build(dkim={"keys": [key | {"key": " "}]})


def test_standing() -> None:
    settings = build(
        suppression={"mode": "refuse", "keep": "3600", "within": None, "report_address": None},
        reputation={"lists": ["bl.example.net"], "addresses": ["192.0.2.1"], "every": "2h"},
    )
    config = parse_config(settings.toml, "agent.toml")
    assert (config.suppression.mode, config.suppression.keep) == ("refuse", 3600)
    assert config.reputation.lists == ("bl.example.net",)
    assert [str(each) for each in config.reputation.addresses] == ["192.0.2.1"]
    assert config.reputation.every == 7200
    assert not {"suppression", "reputation"} & set(tomllib.loads(build(suppression={"mode": None}).toml))


def test_what_is_wanted_of_tls_outwards() -> None:
    settings = build(
        delivery={"tls": "required", "dnssec": "on", "mta_sts": False, "ca": "PEM", "retry_for": "3600"},
        tls_policies=[{"domains": ["partner.example"], "tls": "verified"}],
        tls_reports={"contact": "postmaster@example.org", "organization": None},
    )
    assert settings.secrets == {"delivery.ca.pem": "PEM\n"}
    config = parse_config(settings.toml, "agent.toml")
    assert (config.delivery.tls, config.delivery.dnssec, config.delivery.mta_sts) == ("required", "on", False)
    assert str(config.delivery.ca_file) == "/etc/postroad/secrets/delivery.ca.pem"
    assert config.tls_policy[0].tls == "verified"
    assert config.tls_reports is not None
    assert config.tls_reports.contact == "postmaster@example.org"


def test_mail_that_waits_for_a_site() -> None:
    site = {"domains": ["site.test"], "etrn": True, "owners": ["alice"], "hold_for": "864000", "via": None}
    document = tomllib.loads(build(routes=[site]).toml)
    assert document["route"] == [
        {"domains": ["site.test"], "etrn": True, "owners": ["alice"], "hold_for": 864_000},
    ]


def test_what_hosts_can_take() -> None:
    settings = build(
        shaping=[{"destinations": ["*.example.net"], "connections": 2, "messages_per_minute": None}],
        delivery={"retry_greylisted": ["5m"], "delay_notice": "0"},
        policy={"priority_highest": 2},
    )
    config = parse_config(settings.toml, "agent.toml")
    assert (config.shaping[0].destinations, config.shaping[0].connections) == (("*.example.net",), 2)
    assert config.shaping[0].messages_per_minute is None
    assert (config.delivery.retry_greylisted, config.delivery.delay_notice) == ((300.0,), 0.0)
    assert config.policy.priority_highest == 2

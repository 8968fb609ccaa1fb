# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables to what the agent reads: its configuration, the upstream secrets, the accounts.

Used on the target, to write the files, and on the controller, to check them before any host is touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .toml_text import dump_toml

__all__ = ["ETC", "AgentSettings", "SettingsError", "agent_options", "build_settings", "given_accounts"]

ETC = "/etc/postroad"
TLS_CERTIFICATE = f"{ETC}/tls/fullchain.pem"
TLS_KEY = f"{ETC}/tls/privkey.pem"

_HEADER = "# Written by Ansible (role relay_agent): what is changed here, the next run changes back.\n\n"
_LIMITS = (
    "messages_per_hour",
    "messages_burst",
    "recipients_per_hour",
    "recipients_burst",
    "message_size",
    "sessions",
    "priority_highest",
    "priority_lowest",
)
_POLICY_DURATIONS = ("guess_delay", "guess_delay_max", "shut_out", "shut_out_max")
_ONE_LINE = ("password", "client_secret", "refresh_token")
_UNSAFE = re.compile(r"[^A-Za-z0-9.@_-]")


class SettingsError(Exception):
    """Variables that contradict each other; the text begins with the variable's name, less the role's prefix."""


@dataclass(frozen=True)
class AgentSettings:
    """What the agent reads. `secrets` are files below /etc/postroad/secrets, by name."""

    toml: str
    secrets: dict[str, str] = field(repr=False)
    accounts: list[dict[str, Any]] = field(repr=False)


def agent_options() -> dict[str, Any]:
    """The options of the role as an Ansible argument spec; meta/argument_specs.yml says what each means."""
    text: dict[str, Any] = {"type": "str"}
    number: dict[str, Any] = {"type": "int"}
    strings: dict[str, Any] = {"type": "list", "elements": "str"}
    tls = {"type": "str", "choices": ["starttls", "implicit", "none"]}
    mx_tls = {"type": "str", "choices": ["opportunistic", "required", "verified"]}
    hop = {
        "host": text | {"required": True},
        "port": number,
        "tls": tls,
        "priority": number,
        "weight": number,
        "auth": text | {"choices": ["external", "scram-sha-256", "oauthbearer", "xoauth2", "plain", "login"]},
        "username": text,
        "password": text | {"no_log": True},
        "ca": text,
        "client_certificate": text,
        "client_key": text | {"no_log": True},
        # Names that look like secrets and are none.
        "token_url": text | {"no_log": False},
        "client_id": text,
        "client_secret": text | {"no_log": True},
        "client_auth": text | {"choices": ["basic", "post"]},
        "refresh_token": text | {"no_log": True},
        "scope": text,
        "token_ca": text | {"no_log": False},
        "token_command": strings | {"no_log": False},
    }
    pool: dict[str, Any] = {"type": "list", "elements": "dict", "options": hop}
    return {
        "hostname": text | {"required": True},
        "listeners": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "port": number | {"required": True},
                "tls": {"type": "str", "choices": ["starttls", "implicit", "auto", "none"], "required": True},
                "address": text,
                "auth": text | {"choices": ["required", "optional", "none"]},
                "proxy_from": strings,
                "web": text,
            },
        },
        "tls": {"type": "dict", "default": {}, "options": {"client_ca": text}},
        "submission": {
            "type": "dict",
            "default": {},
            "options": {
                "trusted_networks": strings,
                "max_message_size": number,
                "max_recipients": number,
                "max_connections": number,
                "max_connections_per_source": number,
                "auto_wait": text,
                "web_wait": text,
                "command_timeout": text,
                "max_auth_failures": number,
                "max_hold": text,
                "sender_check": text | {"choices": ["listed", "strict", "off"]},
                "sender_mismatch": text | {"choices": ["refuse", "rewrite"]},
                "trace_client": {"type": "bool"},
            },
        },
        "policy": {
            "type": "dict",
            "default": {},
            "options": dict.fromkeys((*_LIMITS, "guesses", "guess_prefix_ipv4", "guess_prefix_ipv6"), number)
            | dict.fromkeys((*_POLICY_DURATIONS, "shut_out_notices"), text),
        },
        "oauth": {
            "type": "dict",
            "default": {},
            "options": {
                "issuer": text,
                "audience": strings,
                "jwks_url": text,
                "jwks": text,
                "ca": text,
                "algorithms": strings,
                "account_claim": text,
                "leeway": text,
                "refresh": text,
            },
        },
        "metrics": {"type": "dict", "default": {}, "options": {"address": text, "port": number}},
        "history": {
            "type": "dict",
            "default": {},
            "options": {"enabled": {"type": "bool"}, "keep": text, "max_size": number},
        },
        "routes": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "domains": strings,
                "senders": strings,
                "accounts": strings,
                "via": pool,
                "mx": {"type": "bool"},
                "etrn": {"type": "bool"},
                "owners": strings,
                "hold_for": text,
                "source_address": text,
                "source_address6": text,
                "helo": text,
            },
        },
        "delivery": {
            "type": "dict",
            "default": {},
            "options": {
                "retry_for": text,
                "retry_first": text,
                "retry_max": text,
                "retry_greylisted": strings,
                "delay_notice": text,
                "max_connections": number,
                "max_connections_per_destination": number,
                "connect_timeout": text,
                "resolvers": strings,
                "smtp_port": number,
                "tls": mx_tls,
                "dnssec": text | {"choices": ["auto", "on", "off"]},
                "mta_sts": {"type": "bool"},
                "mta_sts_port": number,
                "ca": text,
                "port25_check": strings,
                "fallback_via": pool,
            },
        },
        "dkim": {
            "type": "dict",
            "default": {},
            "options": {
                "directory": text,
                "domains": strings,
                "subdomains": {"type": "bool"},
                "expire_after": text,
                "keys": {
                    "type": "list",
                    "elements": "dict",
                    "no_log": False,
                    "options": {
                        "domain": text | {"required": True},
                        "selector": text | {"required": True},
                        "key": text | {"required": True, "no_log": True},
                    },
                },
            },
        },
        "shaping": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "destinations": strings | {"required": True},
                "connections": number,
                "messages_per_minute": {"type": "float"},
            },
        },
        "tls_policies": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {"domains": strings | {"required": True}, "tls": mx_tls | {"required": True}},
        },
        "tls_reports": {"type": "dict", "default": {}, "options": {"contact": text, "organization": text}},
        "suppression": {
            "type": "dict",
            "default": {},
            "options": {
                "mode": text | {"choices": ["off", "warn", "refuse"]},
                "scope": text | {"choices": ["account", "host"]},
                "after": number,
                "within": text,
                "keep": text,
                "max_entries": number,
                "file": text,
                "report_address": text,
                "report_accounts": strings,
            },
        },
        "reputation": {
            "type": "dict",
            "default": {},
            "options": {"lists": strings, "addresses": strings, "every": text},
        },
        "accounts": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": text | {"required": True},
                "password": text | {"no_log": True},
                "hash": text | {"no_log": True},
                "scram": text | {"no_log": True},
                "disabled": {"type": "bool", "default": False},
                "addresses": strings,
                "limits": {"type": "dict", "options": dict.fromkeys(_LIMITS, number)},
            },
        },
    }


def build_settings(options: Mapping[str, Any]) -> AgentSettings:
    """What the agent reads, for options that fit `agent_options`. Raises SettingsError."""
    secrets: dict[str, str] = {}
    listeners = [_given(listener) for listener in options["listeners"]]
    document: dict[str, object] = {"hostname": options["hostname"], "listener": listeners}
    if any(listener["tls"] != "none" for listener in listeners):
        document["tls"] = {"certificate": TLS_CERTIFICATE, "key": TLS_KEY} | _tls(options.get("tls", {}), secrets)
    sections = {
        "submission": _with_durations(options["submission"], "auto_wait", "web_wait", "command_timeout", "max_hold"),
        "policy": _with_durations(options.get("policy", {}), *_POLICY_DURATIONS),
        "oauth": _oauth(options.get("oauth", {}), secrets),
        "metrics": _given(options.get("metrics", {})),
        "history": _with_durations(options.get("history", {}), "keep"),
        "accounts": {"file": f"{ETC}/accounts.toml"},
        "queue": {"backend": "embedded", "directory": "/var/lib/postroad/queue"},
        "control": {"socket": "/run/postroad/control.sock"},
        "route": [_route(route, number, secrets) for number, route in enumerate(options["routes"])],
        "delivery": _delivery(options["delivery"], secrets),
        "shaping": [_given(rule) for rule in options.get("shaping", [])],
        "tls_policy": options.get("tls_policies", []),
        "tls_reports": _given(options.get("tls_reports", {})),
        "suppression": _with_durations(options.get("suppression", {}), "within", "keep"),
        "reputation": _with_durations(options.get("reputation", {}), "every"),
        "dkim": _dkim(options.get("dkim", {}), secrets),
    }
    document |= {name: section for name, section in sections.items() if section}
    accounts = given_accounts(options["accounts"])
    return AgentSettings(toml=_HEADER + dump_toml(document), secrets=secrets, accounts=accounts)


def given_accounts(accounts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The accounts as `relay-agent account sync` takes them: without what was not set."""
    result = [_given(account) for account in accounts]
    for account in result:
        if "limits" in account:
            account["limits"] = _given(account["limits"])
    return result


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not set: the agent's own defaults apply there."""
    return {key: value for key, value in table.items() if value is not None}


def _with_durations(section: Mapping[str, Any], *names: str) -> dict[str, Any]:
    given = _given(section)
    for name in names:
        if name in given and given[name].isascii() and given[name].isdigit():
            # Ansible made text of the plain number of seconds that the inventory has.
            given[name] = int(given[name])
    return given


def _route(route: Mapping[str, Any], number: int, secrets: dict[str, str]) -> dict[str, object]:
    given = _with_durations(route, "hold_for")
    if "via" in given:
        given["via"] = _pool(given["via"], f"routes[{number}].via", secrets)
    return given


def _pool(hops: Sequence[Mapping[str, Any]], where: str, secrets: dict[str, str]) -> list[dict[str, Any]]:
    return [_hop(_given(hop), f"{where}[{place}]", secrets) for place, hop in enumerate(hops)]


def _hop(hop: dict[str, Any], where: str, secrets: dict[str, str]) -> dict[str, Any]:
    server = f"{hop['host']}-{hop.get('port', 587)}"
    user = f"{hop.get('username', '')}@{server}"
    for key, name in (("password", "password"), ("client_secret", "secret"), ("refresh_token", "refresh")):
        if key in hop:
            hop[f"{key}_file"] = _keep(secrets, f"{user}.{name}", hop.pop(key) + "\n", f"{where}.{key}")
    for key, name in (("ca", f"{server}.ca.pem"), ("token_ca", f"{server}.token-ca.pem")):
        if key in hop:
            hop[f"{key}_file"] = _keep(secrets, name, hop.pop(key).strip() + "\n", f"{where}.{key}")
    for key in ("client_certificate", "client_key"):
        if key in hop:
            hop[key] = _keep(secrets, f"{user}.{key}.pem", hop[key].strip() + "\n", f"{where}.{key}")
    return hop


def _tls(options: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, str]:
    authorities = options.get("client_ca")
    if authorities is None:
        return {}
    if authorities.strip() and "-----BEGIN " not in authorities:
        raise SettingsError("tls.client_ca: is not PEM text (expected the content of the file, not its name)")
    return {"client_ca": _keep(secrets, "clients.ca.pem", authorities.strip() + "\n", "tls.client_ca")}


def _delivery(options: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    given = _with_durations(options, "retry_for", "retry_first", "retry_max", "delay_notice", "connect_timeout")
    if "ca" in given:
        given["ca_file"] = _keep(secrets, "delivery.ca.pem", given.pop("ca").strip() + "\n", "delivery.ca")
    if "fallback_via" in given:
        given["fallback_via"] = _pool(given["fallback_via"], "delivery.fallback_via", secrets)
    return given


def _oauth(options: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    given = _with_durations(options, "leeway", "refresh")
    for key, name in (("jwks", "oauth.jwks.json"), ("ca", "oauth.ca.pem")):
        if key in given:
            given[f"{key}_file"] = _keep(secrets, name, given.pop(key).strip() + "\n", f"oauth.{key}")
    return given


def _dkim(options: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    given = _with_durations(options, "expire_after")
    keys = given.pop("keys", [])
    if keys:
        given["key"] = [_dkim_key(key, f"dkim.keys[{number}].key", secrets) for number, key in enumerate(keys)]
    return given


def _dkim_key(key: Mapping[str, Any], where: str, secrets: dict[str, str]) -> dict[str, Any]:
    name = f"{key['selector']}._domainkey.{key['domain']}.dkim"
    file = _keep(secrets, name, key["key"].strip() + "\n", where)
    return {"domain": key["domain"], "selector": key["selector"], "file": file}


def _keep(secrets: dict[str, str], name: str, content: str, where: str) -> str:
    safe = _UNSAFE.sub("_", name).lstrip(".")
    if not content.strip():
        raise SettingsError(f"{where}: is empty")
    if "\0" in content or (where.endswith(_ONE_LINE) and "\n" in content[:-1]):
        raise SettingsError(f"{where}: contains a line break or a NUL")
    if secrets.setdefault(safe, content) != content:
        raise SettingsError(f"{where}: differs from the one given for the same server and user before")
    return f"{ETC}/secrets/{safe}"

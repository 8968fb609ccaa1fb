# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent dkim``: the keys that sign mail, from the first record to the last."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.delivery.domain import ascii_domain
from relay_agent.dkim.keys import Algorithm, Key, KeyState, check_selector, parse_key, render_key
from relay_agent.dkim.places import DkimError
from relay_agent.dkim.published import Finding, Publication, look_up, look_up_at_servers
from relay_agent.dkim.record import record_strings, record_text, zone_lines
from relay_agent.dkim.store import KeyStore, load_keys

from .notice import print_told, tell_agent
from .terminal import duration, escape, print_json, style, table

__all__ = ["activate", "check", "delete", "export", "import_key", "keys", "new", "record", "retire"]

_ALGORITHMS = {
    "both": (Algorithm.RSA, Algorithm.ED25519),
    "rsa": (Algorithm.RSA,),
    "ed25519": (Algorithm.ED25519,),
}
_LARGEST_KEY = 65_536


def keys(arguments: argparse.Namespace) -> int:
    """List the keys."""
    config = read_config(arguments.config)
    found = _chosen(config, arguments)
    if arguments.json:
        print_json([_plain(key, config) for key in found])
        return 0
    if not found:
        print("no keys; make the first with: relay-agent dkim new DOMAIN")
        return 0
    rows = [
        (
            key.domain,
            key.selector,
            key.algorithm.key_type,
            key.state.value,
            f"{key.since:%Y-%m-%d %H:%M}" if key.since else "",
            _next_step(key, config),
        )
        for key in found
    ]
    print(table(("domain", "selector", "kind", "state", "since (UTC)", "what comes next"), rows))
    return 0


def new(arguments: argparse.Namespace) -> int:
    """Make a domain's next keys."""
    config = read_config(arguments.config)
    domain, selector = _domain(arguments.domain), _selector(arguments.selector)
    made = KeyStore(config.dkim).make(domain, _ALGORITHMS[arguments.algorithm], _now(), selector)
    if arguments.json:
        print_json([_plain(key, config) | _record(key) for key in made])
        return 0
    _print_records(made)
    print(
        f"Publish {'this record' if len(made) == 1 else 'these records'}, then: relay-agent dkim activate {domain}",
        file=sys.stderr,
    )
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Print a key's file, for another relay of the domain."""
    (key,) = _chosen(read_config(arguments.config), arguments)
    sys.stdout.write(render_key(key).decode("ascii"))
    return 0


def import_key(arguments: argparse.Namespace) -> int:
    """Keep a key that another relay has made; it comes by standard input."""
    config = read_config(arguments.config)
    domain, selector = _domain(arguments.domain), _selector(arguments.selector)
    try:
        key = parse_key(sys.stdin.buffer.read(_LARGEST_KEY), domain, selector)
    except ValueError as error:
        raise DkimError([f"standard input {error}"]) from None
    added = KeyStore(config.dkim).add(key, _now())
    if arguments.json:
        print_json({"name": key.name, "added": added})
    else:
        print(f"{key.name}: {'pending here, too' if added else 'is here already'}")
    return 0


def activate(arguments: argparse.Namespace) -> int:
    """Let pending keys sign."""
    config = read_config(arguments.config)
    chosen = [key for key in _chosen(config, arguments) if key.state is KeyState.PENDING or arguments.selector]
    if not chosen:
        domain = _domain(arguments.domain)
        raise DkimError([f"{domain} has no pending key; make one with: relay-agent dkim new {domain}"])
    if not arguments.force:
        findings = _look_up(chosen, config)
        problems = [finding.reason for finding in findings if finding.publication is not Publication.PUBLISHED]
        if problems:
            hint = "nothing was changed: a signature without its record is a broken one (--force does it all the same)"
            raise DkimError([*problems, hint])
    retired = KeyStore(config.dkim).activate(chosen, _now())
    told = tell_agent(config.control.socket, "dkim.reload")
    if arguments.json:
        print_json({"activated": [key.name for key in chosen], "retired": [key.name for key in retired], "agent": told})
        return 0
    for key in chosen:
        print(f"{key.name}: signs from now on")
    for key in retired:
        print(f"{key.name}: retired; leave its record in DNS for {duration(_lifetime(config))}")
    print_told(told)
    return 0


def retire(arguments: argparse.Namespace) -> int:
    """Let a key sign no more."""
    config = read_config(arguments.config)
    (key,) = _chosen(config, arguments)
    if key.state is not KeyState.ACTIVE:
        raise DkimError([f"{key.name} is {key.state}, not active"])
    KeyStore(config.dkim).retire(key, _now())
    told = tell_agent(config.control.socket, "dkim.reload")
    others = [each for each in load_keys(config.dkim) if each.domain == key.domain and each.state is KeyState.ACTIVE]
    if arguments.json:
        print_json({"retired": key.name, "still_signing": [each.name for each in others], "agent": told})
        return 0
    print(f"{key.name}: retired; leave its record in DNS for {duration(_lifetime(config))}")
    if not others:
        print(style(f"mail from {key.domain} is not signed any more", "yellow"))
    print_told(told)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Remove a key."""
    config = read_config(arguments.config)
    (key,) = _chosen(config, arguments)
    if not arguments.force:
        if key.state is KeyState.ACTIVE:
            raise DkimError([f"{key.name} is active: retire it first (--force deletes it all the same)"])
        if (left := _left(key, config)) > 0:
            raise DkimError(
                [
                    f"{key.name} was retired not long ago: mail that it signed may be on its way for another "
                    f"{duration(left)} (--force deletes it all the same)"
                ]
            )
    KeyStore(config.dkim).delete(key)
    told = tell_agent(config.control.socket, "dkim.reload")
    if arguments.json:
        print_json({"deleted": key.name, "agent": told})
        return 0
    print(f"{key.name}: deleted; take its record out of DNS")
    print_told(told)
    return 0


def record(arguments: argparse.Namespace) -> int:
    """Print the records."""
    config = read_config(arguments.config)
    found = _chosen(config, arguments)
    if arguments.json:
        print_json([_record(key) for key in found])
    else:
        _print_records(found)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Compare the records in DNS with the keys; 1 when one that is needed does not fit."""
    config = read_config(arguments.config)
    chosen = _chosen(config, arguments)
    findings = _look_up(chosen, config)
    if arguments.everywhere:
        findings += asyncio.run(look_up_at_servers(chosen, config.delivery.resolvers))
    good = all(finding.publication is Publication.PUBLISHED for finding in findings)
    if arguments.json:
        rows = [
            {
                "name": each.key.name,
                "selector": each.key.selector,
                "state": each.key.state,
                "server": each.server or None,
                "dns": each.publication,
                "reason": each.reason,
            }
            for each in findings
        ]
        print_json({"good": good, "keys": rows})
    elif not findings:
        print("no keys; make the first with: relay-agent dkim new DOMAIN")
    else:
        cells = [(each.key.name, each.key.state.value, each.publication.value, each.reason) for each in findings]
        print(table(("record", "key", "DNS", "what is wrong"), cells))
    return 0 if good else 1


def _chosen(config: Config, arguments: argparse.Namespace) -> list[Key]:
    """The keys that the arguments name, by domain and age. Raises DkimError when there is no such key."""
    domain = _domain(arguments.domain) if arguments.domain else ""
    selector = _selector(getattr(arguments, "selector", ""))
    known = load_keys(config.dkim)
    found = [key for key in known if domain in ("", key.domain) and selector in ("", key.selector)]
    if domain and not found:
        there = ", ".join(sorted(key.selector for key in known if key.domain == domain))
        if there:
            raise DkimError([f"{domain} has no key with the selector {selector} (it has {there})"])
        raise DkimError([f"{domain} has no keys; make the first with: relay-agent dkim new {domain}"])
    return sorted(found, key=lambda key: (key.domain, key.created or datetime.min.replace(tzinfo=UTC), key.selector))


def _domain(text: str) -> str:
    try:
        return ascii_domain(text)
    except ValueError:
        raise DkimError([f"{text[:300]!a} is not a domain (expected one such as example.org)"]) from None


def _selector(text: str) -> str:
    try:
        return check_selector(text) if text else ""
    except ValueError as error:
        raise DkimError([str(error)]) from None


def _look_up(found: Sequence[Key], config: Config) -> list[Finding]:
    return asyncio.run(look_up(found, config.delivery.resolvers))


def _lifetime(config: Config) -> float:
    """Seconds that a message may be on its way after it was signed: held by its sender, then retried."""
    return config.submission.max_hold + config.delivery.retry_for


def _left(key: Key, config: Config) -> float:
    """Seconds for which a retired key's record is still needed."""
    if key.state is not KeyState.RETIRED or key.since is None:
        return 0.0
    return (key.since + timedelta(seconds=_lifetime(config)) - _now()).total_seconds()


def _next_step(key: Key, config: Config) -> str:
    if key.given:
        return "kept in the configuration"
    if key.state is KeyState.PENDING:
        return "publish its record, then activate"
    if key.state is KeyState.ACTIVE:
        return "signs"
    left = _left(key, config)
    return f"delete in {duration(left)}" if left > 0 else "delete, then take its record out of DNS"


def _print_records(found: Sequence[Key]) -> None:
    blocks = [
        f"; {key.state} key for {key.domain}. In a provider's form:\n"
        f";   type   TXT\n;   name   {key.name}\n;   value  {record_text(key)}\n{zone_lines(key)}"
        for key in found
    ]
    print("\n\n".join(map(_safe, blocks)))


def _safe(text: str) -> str:
    return "\n".join(map(escape, text.split("\n")))


def _record(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "type": "TXT",
        "value": record_text(key),
        "strings": record_strings(key),
        "zone": zone_lines(key),
    }


def _plain(key: Key, config: Config) -> dict[str, Any]:
    return {
        "domain": key.domain,
        "selector": key.selector,
        "name": key.name,
        "algorithm": key.algorithm,
        "state": key.state,
        "created": _when(key.created),
        "since": _when(key.since),
        "given": key.given,
        "delete_in": max(0, round(_left(key, config))) if key.state is KeyState.RETIRED else None,
    }


def _when(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else None


def _now() -> datetime:
    return datetime.now(UTC)

# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent certificate``: what mail programs see, how long it holds, and its renewal."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from relay_agent.certificates.agent_unit import AgentUnit
from relay_agent.certificates.chain import key_digest, read_leaf
from relay_agent.certificates.handshake import prove as prove_ports
from relay_agent.certificates.handshake import tls_ports
from relay_agent.certificates.journal import Renewals, note_proof, read_renewals
from relay_agent.certificates.pairs import Pairs
from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.renewal import Outcome, Renewal
from relay_agent.certificates.settings import CertificateSettings, read_settings
from relay_agent.certificates.tlsa import owners, zone_lines
from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.drained import drained
from relay_agent.observability.log import MailLog

from .terminal import duration, escape, moment, print_json, style

__all__ = ["prove", "renew", "show", "tlsa"]

_TTL = 3600  # seconds
_SOON = 21 * 86400.0


def show(arguments: argparse.Namespace) -> int:
    """Show the certificate in use."""
    config = read_config(arguments.config)
    directory = _directory(config)
    now = time.time()
    leaf = read_leaf(_chain(config))
    renewals = read_renewals(directory)
    left = leaf.ends.timestamp() - now
    good = left > 0 and not (renewals and renewals.problem)
    if arguments.json:
        told: dict[str, Any] = {
            "names": sorted(leaf.names),
            "issuer": leaf.issuer,
            "begins": leaf.begins.timestamp(),
            "ends": leaf.ends.timestamp(),
            "sha256": leaf.fingerprint,
            "good": good,
            "renewals": asdict(renewals) if renewals else None,
        }
        print_json(told)
        return 0 if good else 1
    print(f"for: {escape(', '.join(sorted(leaf.names)))}")
    print(f"from: {escape(leaf.issuer)}")
    ends = f"{leaf.ends:%Y-%m-%d %H:%M} UTC"
    if left <= 0:
        print(style(f"ended: {ends}", "red"))
    else:
        text = f"ends: {ends}, in {duration(left)}"
        print(style(text, "yellow") if left < _SOON else text)
    print(f"SHA-256: {leaf.fingerprint}")
    for line in _renewals_in_words(renewals, now):
        print(line)
    return 0 if good else 1


def _renewals_in_words(renewals: Renewals | None, now: float) -> list[str]:
    if renewals is None:
        return []
    lines = [
        f"renewed: {moment(renewals.renewed) if renewals.renewed else 'never'}, looked at {moment(renewals.looked)}"
    ]
    if renewals.problem:
        lines.append(style(f"fails since {moment(renewals.failing)}: {escape(renewals.problem)}", "red"))
    if renewals.unproved and not renewals.problem:
        lines.append(style(f"no port has shown it yet: {escape(renewals.unproved)}", "yellow"))
    wait = renewals.next_ready(now)
    if wait is not None:
        lines.append("next key: " + ("may be used" if wait == 0 else f"may be used in {duration(wait)}"))
    return lines


def tlsa(arguments: argparse.Namespace) -> int:
    """Print the records."""
    config = read_config(arguments.config)
    settings = read_settings(arguments.settings) if arguments.settings.exists() else None
    hostname = settings.names[0] if settings is not None else config.hostname
    ttl = arguments.ttl or (settings.dns.ttl if settings is not None and settings.dns is not None else _TTL)
    pairs = Pairs(_directory(config))
    # One that is not there yet is made, unless only what there is was asked for.
    following = key_digest(pairs.next_key()) if pairs.has_next_key() or not arguments.existing else ""
    present = read_leaf(_chain(config)).key
    names = owners(hostname, config.listener)
    if arguments.json:
        print_json({"names": names, "present": present, "next": following, "ttl": ttl})
        return 0
    for what, key in (("the key in use", present), ("the key that comes next", following)):
        if not key:
            continue
        print(f"; {what}")
        for line in zone_lines(names, [key], ttl):
            print(line)
    return 0


def renew(arguments: argparse.Namespace) -> int:
    """Renew it if it is time; 1 when something came to nothing."""
    settings = read_settings(arguments.settings)
    listeners = read_config(arguments.config).listener if arguments.config.exists() else ()
    log = MailLog(sys.stderr if arguments.json else None)
    agent = AgentUnit(arguments.config)
    outcome = Renewal(settings, listeners, agent, log, within=arguments.within).run(at_once=arguments.now)
    log.flush()
    if arguments.json:
        print_json(asdict(outcome))
    else:
        for line in _outcome_in_words(settings, outcome, time.time()):
            print(line)
    return 1 if outcome.problems else 0


def prove(arguments: argparse.Namespace) -> int:
    """Look at the ports; 1 when one does not show what is on the disk."""
    config = read_config(arguments.config)
    leaf = read_leaf(_chain(config))
    closed = drained(arguments.config) is not None
    ports = [] if closed else tls_ports(config.listener)
    problem = prove_ports(ports, leaf.fingerprint, within=arguments.within)
    if problem:
        raise CertificateError(problem)
    if not closed:
        _note_proof(config, leaf.fingerprint)
    numbers = [port.port for port in ports]
    if arguments.json:
        print_json({"ports": numbers, "sha256": leaf.fingerprint})
    elif closed:
        print(f"{leaf.fingerprint} is shown nowhere: this host is drained, and all its ports are closed")
    else:
        print(f"{leaf.fingerprint} is shown on: {', '.join(map(str, numbers)) or 'no port that can be looked at'}")
    return 0


def _note_proof(config: Config, fingerprint: str) -> None:
    """Have ``show`` say at once what was proved, and not at the next look of the timer."""
    try:
        note_proof(_directory(config), lambda: read_leaf(_chain(config)).fingerprint == fingerprint)
    except PermissionError:
        pass  # anybody may look; only root notes it
    except (CertificateError, OSError) as error:  # TimeoutError, too
        # The proof holds all the same.
        print(f"the proof could not be noted, the timer's next look does it: {error}", file=sys.stderr)


def _outcome_in_words(settings: CertificateSettings, outcome: Outcome, now: float) -> list[str]:
    """What whoever reads the unit's journal has to know last: what failed, and what mail programs see meanwhile."""
    lines = [f"FAILED: {escape(problem)}" for problem in outcome.problems]
    try:
        ends = read_leaf(Pairs(settings.directory).chain()).ends
    except CertificateError:
        return [*lines, "there is no certificate in use"]
    left = ends.timestamp() - now
    holds = f"{'holds until' if left > 0 else 'ended on'} {ends:%Y-%m-%d %H:%M} UTC"
    if not outcome.reason and not outcome.problems:
        lines.append(f"nothing is due: the certificate {holds}")
    else:
        meanwhile = "the new certificate is in use" if outcome.changed else "the certificate in use stays"
        lines.append(f"{meanwhile}, and {holds}" + ("" if left > 0 else ": mail programs refuse it"))
    if outcome.unproved:
        lines.append(f"no port has shown it yet: {outcome.unproved}; the next look sees to it")
    if outcome.problems:
        lines.append(
            "the next look is the next try (systemctl list-timers relay-certificate.timer); "
            "for one now: systemctl start relay-certificate.service"
        )
    return lines


def _directory(config: Config) -> Path:
    return _tls(config).parent  # with `versions` and `next` beside it


def _chain(config: Config) -> str:
    return _tls(config).read_text("ascii", "replace")


def _tls(config: Config) -> Path:
    if config.tls is None:
        raise CertificateError("this relay has no certificate: the configuration has no section tls")
    return config.tls.certificate

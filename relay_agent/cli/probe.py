# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent probe``: what this network lets through to a relay, and the setting to use."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from relay_agent.probe.known import Known, default_file, load, remember
from relay_agent.probe.survey import Survey, SurveyError, survey
from relay_agent.probe.verdict import Verdict, What

from .terminal import complain, escape, print_json, style, table

__all__ = ["probe"]

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
#: Of a port that the relay does not have, these say nothing about the network.
_NOTHING = {What.REFUSED, What.SILENT, What.UNREACHABLE}


def probe(arguments: argparse.Namespace) -> int:
    """Try every port; 0 when mail can be sent from here."""
    file = arguments.known or default_file()
    known = Known() if arguments.forget else load(file, arguments.host)
    try:
        authorities = arguments.ca.read_bytes() if arguments.ca is not None else b""
    except OSError as error:
        complain(f"{arguments.ca}: {error.strerror}")
        return 2
    watch = _Progress()
    try:
        found = survey(
            arguments.host, ports=tuple(arguments.port), authorities=authorities, known=known, progress=watch.show
        )
    except SurveyError as error:
        watch.clear()
        complain(str(error))
        return 1
    watch.clear()
    if found.key and (found.signed or not known.keys):
        try:
            remember(file, found.host, found.key, found.ports)
        except OSError as error:
            complain(f"what was learned is not kept: {file}: {error.strerror or error}")
    if arguments.json:
        print_json(_as_json(found))
    else:
        _print(found, everything=arguments.all or bool(arguments.port))
    return 0 if found.setting is not None else 1


def _print(found: Survey, *, everything: bool) -> None:
    declared = {port for port, _ in found.ports}
    rows = [
        [str(verdict.port), _FAMILIES[verdict.family], verdict.words]
        for verdict in found.verdicts
        if everything or not declared or verdict.port in declared or verdict.what not in _NOTHING
    ]
    places = ", ".join(address for _, address in found.addresses)
    print(f"{style(escape(found.host), 'bold')}  {places}")
    print(table(["port", "over", "from here"], rows, right=["port"]))
    if found.signed:
        print(f"\nThe relay itself says, signed, that it has the ports {', '.join(str(p) for p, _ in found.ports)}.")
    elif found.ports:
        print("\nThe relay's own word did not get through; its ports are those it named before.")
    else:
        print("\nThe relay's own word on its ports did not get through.")
    setting = found.setting
    if setting is None:
        print(style("Mail cannot be sent from here.", "red"), _advice(found.verdicts))
        return
    print(style("Mail can be sent from here.", "green"), "Set your mail program to:")
    print(
        f"\n  server    {escape(setting.host)}\n  port      {setting.port}\n  security  {_security(setting.security)}"
    )
    print(f"\nWhy this one: {escape(setting.why)}.")


def _security(kind: str) -> str:
    return "TLS (also called SSL/TLS)" if kind == "TLS" else "STARTTLS"


def _advice(verdicts: tuple[Verdict, ...]) -> str:
    seen = {verdict.what for verdict in verdicts}
    for what, words in (
        (What.PORTAL, "This network wants you to log in first: open any web page, then try again."),
        (What.CERTIFICATE, "Somebody stands between you and the relay, or its certificate has to be renewed."),
        (What.STRIPPED, "This network takes the encryption out. Use another one, or a VPN."),
        (What.NO_SIGN_IN, "The host answers, but does not take mail from you: is the name right?"),
        (What.OTHER, "Somebody else answers in the relay's place. Use another network, or a VPN."),
    ):
        if what in seen:
            return words
    return "Nothing gets through to it: is this machine online, and is the name right?"


def _as_json(found: Survey) -> dict[str, Any]:
    return {
        "host": found.host,
        "usable": found.setting is not None,
        "setting": asdict(found.setting) if found.setting is not None else None,
        "addresses": [{"family": family, "address": address} for family, address in found.addresses],
        "signed": found.signed,
        "key": found.key or None,
        "declared": [{"port": port, "tls": mode} for port, mode in found.ports],
        "ports": [asdict(verdict) for verdict in found.verdicts],
        "seconds": round(found.seconds, 3),
    }


class _Progress:
    """A line on a terminal that says how far it is."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, done: int, of: int) -> None:
        if self._shown:
            print(f"\r\x1b[Ktrying the ports: {done} of {of}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

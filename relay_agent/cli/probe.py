# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent probe``: what this network lets through to a relay, and the setting to use."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from typing import Any

from relay_agent.probe.known import Known, default_file, load, remember
from relay_agent.probe.survey import Survey, survey
from relay_agent.probe.tries import SurveyError, trust

from .probe_words import words_of
from .terminal import complain, print_json

__all__ = ["probe"]

EXIT_NOT_USABLE = 1
EXIT_BAD_ARGUMENT = 2
EXIT_INTERRUPTED = 130  # as of a program that SIGINT ends


def probe(arguments: argparse.Namespace) -> int:
    """Try every port of each host; 0 when mail can be sent from here by every one."""
    for stream in (sys.stdout, sys.stderr):
        # Strangers' words may have letters that a console of an old code page lacks: those are spelled out.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        authorities = arguments.ca.read_bytes() if arguments.ca is not None else b""
        trust(authorities)
    except OSError as error:
        complain(f"{arguments.ca}: {error.strerror}")
        return EXIT_BAD_ARGUMENT
    except SurveyError as error:
        complain(f"{arguments.ca}: {error}")
        return EXIT_BAD_ARGUMENT
    results: list[dict[str, Any]] = []
    for number, host in enumerate(dict.fromkeys(arguments.host)):
        if number and not arguments.json:
            print()
        results.append(_one(host, authorities, arguments))
    if arguments.json:
        print_json(results if len(results) > 1 else results[0])
    return 0 if all(result["usable"] for result in results) else EXIT_NOT_USABLE


def _one(host: str, authorities: bytes, arguments: argparse.Namespace) -> dict[str, Any]:
    """Try a host and print what was found, unless JSON is wanted. Returns it as JSON."""
    file = arguments.known or default_file()
    known = Known() if arguments.forget or file is None else load(file, host)
    watch = _Progress()
    try:
        found = survey(host, ports=tuple(arguments.port), authorities=authorities, known=known, progress=watch.show)
    except SurveyError as error:
        watch.clear()
        complain(str(error))
        return {"host": host, "usable": False, "problem": str(error)}
    except KeyboardInterrupt:
        watch.clear()
        complain(f"{host}: interrupted")
        sys.stdout.flush()
        # Not by way of `exit`, which waits for tries that wait for silent ports.
        os._exit(EXIT_INTERRUPTED)
    watch.clear()
    # A key that was merely trusted here may be that of a company that reads along. Once remembered, it would pass for
    # the relay's in every network.
    if file is not None and found.signed:
        try:
            remember(file, found.host, found.key, found.ports)
        except OSError as error:
            complain(f"what was learned is not kept: {file}: {error.strerror or error}")
    if not arguments.json:
        print(words_of(found, everything=arguments.all or bool(arguments.port)))
    return _as_json(found)


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
            print(f"\rtrying the ports: {done} of {of}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)

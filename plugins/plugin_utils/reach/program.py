# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe's tries as a program that a vantage runs from its standard input: no file of it is written anywhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.agent_package import ROOT
from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import plain
from ansible_collections.postroad.relay.plugins.plugin_utils.reach.bounded import CUT

__all__ = ["OLDEST_PYTHON", "ReachError", "answer", "command", "most_said", "program", "time_for"]

OLDEST_PYTHON = (3, 11)
# In the order in which each finds what it imports.
_MODULES = ("", "probe", "probe.attempt", "probe.wire", "probe.tries", "probe.vantage")
_NEWEST_FIRST = ("python3.14", "python3.13", "python3.12", "python3.11", "python3")
_BEGIN = "postroad-reach:"
_LONGEST = 300  # characters of what a vantage says in place of an answer
# Bytes of an answer; a relay of eight ports over both families takes 150,000, most of them certificates.
_MOST, _MOST_OF_A_RELAY = 4 << 20, 1 << 19
_RELAYS_AT_ONCE = 6  # as relay_agent/probe/vantage.py has it
_SLACK = 60.0  # seconds for the connection and a slow machine
_CARRIED_IN = 10.0  # seconds for what is said of a relay, over 128 kbit/s
_LOOKED_UP_IN = 4.0  # seconds at most before the tries of a relay begin

# Runs with any Python 3, to say that it is too old.
_LOADER = """\
import json, sys, types
given = json.load(sys.stdin)
for name, source in given["modules"]:
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
print(given["begin"] + json.dumps(sys.modules["relay_agent.probe.vantage"].run(given["request"])))
"""
_OLD_ENOUGH = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"


class ReachError(Exception):
    """A vantage could not try anything; the text says why, and what to do."""


def command(interpreter: str = "") -> str:
    """The command for the vantage's shell. interpreter: the inventory's, if it names one; it is looked at first."""
    candidates = " ".join(shlex.quote(each) for each in [*filter(None, [interpreter]), *_NEWEST_FIRST])
    return (
        f"for python in {candidates}; do "
        f'if command -v "$python" >/dev/null 2>&1 && "$python" -c {shlex.quote(_OLD_ENOUGH)} 2>/dev/null; then '
        f'exec "$python" -I -c {shlex.quote(_LOADER)}; fi; done; cat >/dev/null; '
        f'echo {_BEGIN}; python3 --version 2>&1 || echo "no Python"'
    )


def program(relays: Sequence[Mapping[str, Any]], authorities: str, within: float) -> bytes:
    """What the command reads: the modules, and the request (see relay_agent/probe/vantage.py)."""
    modules = []
    for name in _MODULES:
        path = ROOT / "relay_agent" / name.replace(".", "/")
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        modules.append((f"relay_agent.{name}".rstrip("."), source.read_text(encoding="utf-8")))
    request = {"relays": list(relays), "authorities": authorities, "within": within}
    return json.dumps({"modules": modules, "begin": _BEGIN, "request": request}).encode("ascii")


def most_said(relays: int) -> int:
    """How many bytes a vantage may say of so many relays."""
    return _MOST + relays * _MOST_OF_A_RELAY


def time_for(relays: int, within: float) -> float:
    """How many seconds a vantage has for so many relays at most, as they are told to take `within` seconds each."""
    return _SLACK + _CARRIED_IN * relays + (within + max(within, _LOOKED_UP_IN)) * -(-relays // _RELAYS_AT_ONCE)


def answer(vantage: str, status: int, output: str, errors: str, asked: Collection[str]) -> dict[str, Any]:
    """What the vantage found: `python` and `relays`. status, output, errors: of the command; asked: the relays' names.
    Raises ReachError.

    A vantage is a stranger's laptop at worst: of what it says nothing else becomes part of a task's result, in which
    Ansible would take facts and hosts for its inventory from it.
    """
    said_too_much = max(len(output), len(errors)) > most_said(len(asked))
    if status == CUT or said_too_much:
        why = f"it said more than {most_said(len(asked))} bytes" if said_too_much else _last(errors) or "it was cut off"
        raise ReachError(
            f"{vantage} could not try the ports: {why}, which is more than the answer of an honest vantage takes: look "
            "what answers SSH there, try fewer relays at once (--limit), or look from another host (relay_reach_from)"
        )
    # Whatever a login shell says before is not ours. What comes behind is, and quotes servers that may say anything.
    _, begun, told = output.partition(_BEGIN)
    told = told.strip()
    if told and not told.startswith("{"):
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise ReachError(
            f"{vantage} has {_last(told)}, and Python {wanted} or later is needed there: install it, or name "
            "it in ansible_python_interpreter, or look from another host (relay_reach_from)"
        )
    try:
        found = json.loads(told) if begun else None
    except (ValueError, RecursionError):
        found = None
    if status or not isinstance(found, dict) or not isinstance(found.get("relays"), dict):
        last = _last(errors) or _last(output) or "it said nothing"
        raise ReachError(f"{vantage} could not try the ports (exit status {status}): {last}")
    # Names that nobody asked for would only fill Ansible's memory.
    tried = {name: told for name, told in found["relays"].items() if name in asked}
    return {"python": str(found.get("python", ""))[:_LONGEST], "relays": tried}


def _last(text: str) -> str:
    """The last line, as much of it as a person reads."""
    lines = text.strip().splitlines()
    return plain(lines[-1])[:_LONGEST] if lines else ""

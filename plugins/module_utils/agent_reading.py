# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads on a relay what the fleet's page shows of it: release, settings, certificate, queue, counts. Changes nothing.

What cannot be read becomes a sentence in `problems`; the rest is told all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .agent_settings import ETC
from .applied_state import AppliedStore
from .release_store import COMMAND, OPT, ReleaseError, ReleaseStore

__all__ = ["AgentReader", "Runner", "comparable_settings", "run_within", "settings_digest"]

_MOST_GROUPS = 500
_MOST_REASONS = 40
_COMMANDS = (
    ("status",),
    ("metrics",),
    ("queue", "list", "--groups", "--limit", str(_MOST_GROUPS)),
    ("account", "list"),
)
_HOST_SPECIFIC = {
    "hostname",
    "tls.certificate",
    "tls.key",
    "metrics.address",
    "reputation.addresses",
}
_ROUTE_SPECIFIC = {"source_address", "source_address6", "helo"}
_EVERYWHERE = {None, "", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"}  # noqa: S104
_OWN_NAME = "(its own name)"
_OWN_ADDRESS = "(an address of its own)"

Runner = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command; returns exit status, stdout and stderr."""


def run_within(command: list[str], seconds: float = 40.0) -> tuple[int, str, str]:
    """Run a command; one that is not there or takes too long has the status 127 or 124, as of a shell."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return 124, "", f"gave no answer within {seconds:g} s"
    except OSError as error:
        return 127, "", str(error)
    return done.returncode, done.stdout, done.stderr


def comparable_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of a parsed agent.toml that siblings share, as JSON by its path.

    What is a host's own (its name, certificate, addresses) is left out, and its name inside of other values replaced.
    Listeners go by port and not by place: ``listener[587].tls``.
    """
    hostname = str(config.get("hostname", ""))
    found: dict[str, str] = {}
    for name, value in config.items():
        if name == "listener" and isinstance(value, list):
            for listener in value:
                found |= _listener(listener, hostname)
        elif isinstance(value, Mapping):
            entries = {f"{name}.{key}": inner for key, inner in value.items()}
            found |= {path: _shared(inner, hostname) for path, inner in entries.items() if path not in _HOST_SPECIFIC}
        elif isinstance(value, list):
            for number, item in enumerate(value):
                found[f"{name}[{number}]"] = _shared(_route(item) if name == "route" else item, hostname)
        elif name not in _HOST_SPECIFIC:
            found[name] = _shared(value, hostname)
    return dict(sorted(found.items()))


def _listener(listener: Mapping[str, Any], hostname: str) -> dict[str, str]:
    address = listener.get("address")
    shown = {key: value for key, value in listener.items() if key not in ("port", "address")}
    if address not in _EVERYWHERE:
        shown["address"] = _OWN_ADDRESS
    elif address:
        shown["address"] = address
    return {f"listener[{listener.get('port')}].{key}": _shared(value, hostname) for key, value in shown.items()}


def _route(route: Any) -> Any:
    """Without the addresses and the name that the relay sends from."""
    return {key: value for key, value in route.items() if key not in _ROUTE_SPECIFIC}


def _shared(value: Any, hostname: str) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return text.replace(hostname, _OWN_NAME) if hostname else text


def settings_digest(settings: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that are equal for equal settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


class AgentReader:
    """One relay. `key`: with it, digests of secrets can be compared within a run and are of no use after it."""

    def __init__(
        self, run: Runner, key: str, *, etc: Path = Path(ETC), opt: Path = OPT, command: Path = COMMAND
    ) -> None:
        self._run = run
        self._key = key.encode()
        self._etc = etc
        self._opt = opt
        self._command = str(command)
        self._problems: list[str] = []

    def read(self) -> dict[str, Any]:
        """Everything, JSON-ready. Times in seconds, since the epoch where they are moments."""
        reading: dict[str, Any] = {"read_at": time.time(), **self._release(), **self._configuration()}
        if reading["release"] is None and reading["settings"] is None and not self._problems:
            return reading | {"installed": False, "problems": ["no agent is installed here"]}
        reading |= {"installed": True, "units": self._units(), "agent": None, "queue": None, "counts": None}
        with ThreadPoolExecutor() as pool:
            # Each is a program that starts anew: side by side they take half the time.
            asked = [pool.submit(self._ask, *command) for command in _COMMANDS]
        status, metrics, groups, accounts = (each.result() for each in asked)
        running = isinstance(status, Mapping) and status.get("running")
        # A stopped agent is told of once, and not by every command.
        self._problems += [
            each for each in (status, accounts, *((metrics, groups) if running else ())) if _is_text(each)
        ]
        reading["accounts"] = None if _is_text(accounts) else self._accounts(accounts)
        if running:
            reading["agent"] = _agent(status)
            reading["queue"] = _queue(status) | _groups([] if _is_text(groups) else groups)
            if not _is_text(metrics):
                samples = {family["name"]: family["samples"] for family in metrics["metrics"]}
                reading["counts"] = _counts(samples)
                reading["queue"]["oldest"] = _total(samples, "postroad_queue_oldest_age_seconds")
        return reading | {"problems": self._problems}

    def _release(self) -> dict[str, Any]:
        store = ReleaseStore(self._opt)
        try:
            current = store.current()
            described: dict[str, Any] = {}
            if current is not None:
                described = json.loads((store.path(current) / "release.json").read_text(encoding="utf-8"))
                if not isinstance(described, Mapping):
                    raise ReleaseError(f"release.json of {current} describes none")
        except (OSError, ValueError, ReleaseError) as error:
            self._problems.append(f"the release in use cannot be read: {error}")
            return {"release": None}
        if current is None:
            return {"release": None}
        # The id differs between Debian 12 and 13; what it was made from is what siblings share.
        parts = [str(described.get(name, "")) for name in ("source", "lock")]
        made_from = hashlib.sha256("".join(parts).encode()).hexdigest()[:12] if all(parts) else current
        return {
            "release": {
                "id": current,
                "version": str(described.get("version", "?")),
                "made_from": made_from,
                "platform": str(described.get("platform", "")),
            }
        }

    def _configuration(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"settings": None, "digest": None, "by_hand": False, "secrets": {}, "certificate": ""}
        path = self._etc / "agent.toml"
        try:
            text = path.read_text(encoding="utf-8-sig")  # as the agent reads it
            config = tomllib.loads(text)
            settings, certificate = comparable_settings(config), self._certificate(config)
        except FileNotFoundError:
            return nothing
        except (OSError, ValueError) as error:
            self._problems.append(f"{path}: {error}")
            return nothing
        except (AttributeError, TypeError):
            # TOML, and not of the agent: nobody but a person with an editor writes that.
            self._problems.append(
                f"{path}: it is no configuration; `relay-agent check-config {path}` says what is wrong"
            )
            return nothing
        applied = AppliedStore(self._opt / "applied").load()
        return {
            "settings": settings,
            "digest": settings_digest(settings),
            # What the last deployment left; somebody has edited the file where it is not that any more.
            "by_hand": applied is not None and applied.config != hashlib.sha256(text.encode()).hexdigest(),
            "secrets": self._secrets(),
            "certificate": certificate,
        }

    def _secrets(self) -> dict[str, str]:
        directory = self._etc / "secrets"
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        return {path.name: hmac.new(self._key, path.read_bytes(), "sha256").hexdigest()[:16] for path in found}

    def _certificate(self, config: Mapping[str, Any]) -> str:
        """The relay's own certificate, without those behind it, in PEM."""
        path = config.get("tls", {}).get("certificate")
        if path is None:
            return ""
        try:
            chain = Path(path).read_text(encoding="ascii")
            end = "-----END CERTIFICATE-----"
            return chain[chain.index("-----BEGIN CERTIFICATE-----") : chain.index(end) + len(end)] + "\n"
        except (OSError, ValueError) as error:
            self._problems.append(f"the certificate {path} cannot be read: {error}")
            return ""

    def _units(self) -> dict[str, str]:
        names = ("relay-agent.socket", "relay-agent.service")
        status, output, errors = self._run(["systemctl", "show", "--property=Id,ActiveState,UnitFileState", *names])
        if status != 0:
            self._problems.append(f"systemctl: {errors.strip()}")
        units: dict[str, str] = {}
        for block in output.split("\n\n"):
            values = dict(line.partition("=")[::2] for line in block.splitlines())
            if values.get("Id") in names:
                units[values["Id"]] = f"{values.get('ActiveState', '?')}, {values.get('UnitFileState') or 'not there'}"
        return units

    def _accounts(self, accounts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Each account with a digest of all that siblings share: not the password's hash, which has a salt."""
        found = {}
        for account in accounts:
            shared = {key: value for key, value in account.items() if key not in ("name", "created")}
            text = json.dumps(shared, sort_keys=True)
            found[str(account["name"])] = hmac.new(self._key, text.encode(), "sha256").hexdigest()[:16]
        return found

    def _ask(self, *command: str) -> Any:
        """What a command of the agent answers in JSON; a text that says why there is no answer."""
        status, output, errors = self._run([self._command, *command, "--json"])
        try:
            return json.loads(output)
        except ValueError:
            said = errors.strip() or output.strip()[:200] or f"exit status {status}"
            return f"relay-agent {' '.join(command[:2])}: {said}"


def _is_text(answer: Any) -> bool:
    """Whether a command gave no answer, but a sentence on why."""
    return isinstance(answer, str)


def _groups(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What waits by the reason that it waits for."""
    reasons: dict[str, dict[str, Any]] = {}
    for group in groups:
        reason = reasons.setdefault(str(group["reason"] or "not tried yet"), {"recipients": 0, "destinations": {}})
        reason["recipients"] += int(group["recipients"])
        where = str(group["destination"])
        reason["destinations"][where] = reason["destinations"].get(where, 0) + int(group["recipients"])
    ordered = sorted(reasons.items(), key=lambda item: -item[1]["recipients"])[:_MOST_REASONS]
    return {
        "reasons": [
            {
                "reason": reason,
                "recipients": found["recipients"],
                "destinations": sorted(found["destinations"], key=lambda name: -found["destinations"][name])[:5],
            }
            for reason, found in ordered
        ]
    }


def _agent(status: Mapping[str, Any]) -> dict[str, Any]:
    delivery = status.get("delivery", {})
    reputation = status.get("reputation") or {}
    return {
        "hostname": status["hostname"],
        "version": status["version"],
        "uptime": status["uptime"],
        "sessions": status["sessions"],
        "workers": len(status.get("workers", [])),
        "listeners": [{"port": each["port"], "tls": each["tls"]} for each in status["listeners"]],
        "drained": status.get("drained"),
        "port25": (delivery.get("port25") or {}).get("state"),
        "quarantined": len(delivery.get("quarantined", [])),
        "listed": [
            f"{each['address']} on {each['list']}" for each in reputation.get("listings", ()) if each.get("listed")
        ],
        "upstreams_in_trouble": [
            str(each["name"]) for each in delivery.get("upstreams", ()) if each.get("state") != "well"
        ],
    }


def _queue(status: Mapping[str, Any]) -> dict[str, Any]:
    queue = status["queue"]
    return {key: queue.get(key, 0) for key in ("messages", "recipients", "bytes", "held")} | {"oldest": None}


def _total(samples: Mapping[str, Any], name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 where it was never counted."""
    wanted = labels.items()
    return sum(float(each["value"]) for each in samples.get(name, ()) if wanted <= each["labels"].items())


def _counts(samples: Mapping[str, Any]) -> dict[str, float]:
    """Counted since the agent's start, recipients where not said otherwise."""
    outcomes = {
        name: _total(samples, "postroad_delivery_outcomes_total", outcome=name)
        for name in ("delivered", "deferred", "failed")
    }
    return outcomes | {
        "accepted": _total(samples, "postroad_messages_accepted_total"),
        "refused": _total(samples, "postroad_messages_refused_total")
        + _total(samples, "postroad_recipients_refused_total"),
        "sign_ins_failed": _total(samples, "postroad_sign_ins_total", result="failed"),
        "worker_restarts": _total(samples, "postroad_worker_restarts_total"),
    }

# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that keeps coming in while something else happens, every message of it followed to its mailbox."""

import json
import secrets
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traffic.mailboxes import Mailboxes
from traffic.relays import LISTENERS

__all__ = ["Attempt", "Load", "Submissions"]

_PROGRAM = Path(__file__).with_name("load_program.py")


@dataclass(frozen=True)
class Attempt:
    """One message that was submitted, or was to be."""

    relay: str
    token: str
    how: str
    error: str | None
    first_error: str | None = None  # of a first try, after which there was another


@dataclass
class Submissions:
    """All of them; known when the load has ended."""

    attempts: list[Attempt] = field(default_factory=list)

    def failed(self, *relays: str) -> list[Attempt]:
        """Those that were not accepted, of these relays or all."""
        return [each for each in self.attempts if each.error is not None and (not relays or each.relay in relays)]

    def accepted(self, *relays: str) -> list[str]:
        """The tokens of those that were accepted, by these relays or all."""
        return [each.token for each in self.attempts if each.error is None and (not relays or each.relay in relays)]

    def missing(self, mailboxes: Mailboxes, *, seconds: float) -> dict[str, int]:
        """The tokens accepted of which there are not exactly one in a mailbox, with how many there are, in time."""
        arrived = mailboxes.wait_for(self.accepted(), seconds=seconds)
        return {token: count for token, count in arrived.items() if count != 1}


class Load:
    """Clients on the laptop, a host of testinfra: two for each relay.

    zone: of the relays' names. retries: how often a client tries a message again, each time with another session.
    """

    def __init__(
        self,
        laptop: Any,
        password: str,
        authority: str,
        relays: Sequence[str],
        *,
        zone: str = "postroad.test",
        retries: int = 0,
    ) -> None:
        self._laptop = laptop
        self._relays = list(relays)
        self._settings = {
            "account": "alice",
            "password": password,
            "authority": authority,
            "relays": [f"{relay}.{zone}" for relay in relays],
            "retries": retries,
            "ports": {str(port): tls for port, tls in LISTENERS.items()},
            "domains": ["alpha.test", "beta.test"],
        }

    @contextmanager
    def running(self) -> Iterator[Submissions]:
        """Submit all the time that the context lasts; what is yielded is filled in at its end."""
        run = secrets.token_hex(3)
        place = f"/root/load-{run}"
        settings = {**self._settings, "run": run, "stop": f"{place}/stop"}
        submissions = Submissions()
        self._laptop.check_output(f"mkdir -m 700 {place}")
        for name, text in (("settings.json", json.dumps(settings)), ("load.py", _PROGRAM.read_text())):
            self._laptop.check_output(f"printf %s {shlex.quote(text)} > {place}/{name}")
        command = f"python3 {place}/load.py {place}/settings.json > {place}/attempts 2> {place}/errors"
        self._laptop.check_output(f"systemd-run --quiet --collect --unit=load-{run} sh -c {shlex.quote(command)}")
        try:
            yield submissions
        finally:
            self._laptop.check_output(f"touch {place}/stop")
            self._laptop.check_output(
                f"for try in $(seq 400); do systemctl is-active --quiet load-{run} || exit 0; sleep 0.1; done; exit 1"
            )
            assert self._laptop.check_output(f"cat {place}/errors") == ""
            for line in self._laptop.check_output(f"cat {place}/attempts").splitlines():
                found = json.loads(line)
                found["relay"] = found["relay"].partition(".")[0]
                submissions.attempts.append(Attempt(**found))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking the agent off a host, once nobody's mail is on it any more."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from .agent_queue import AgentQueue, AgentQueueError
from .host_drain import DRAINED, HostDrain, is_drained
from .systemd_units import Units
from .trial import BOOT_UNIT, TIMER

__all__ = ["AgentRemoval", "RemovalError"]

USER = "postroad"
_TABLE = ["table", "inet", "postroad"]
_DAMAGED = ("*.damaged-*", "*/*.damaged-*", "set-aside/*")


class RemovalError(Exception):
    """The agent stays where it is; the text says why and what to do."""


class AgentRemoval:
    """`root` is the host's root directory. warnings: what is left elsewhere, for the operator to know."""

    def __init__(
        self,
        run_command: Callable[..., tuple[int, str, str]],
        queue: AgentQueue,
        *,
        root: Path = Path("/"),
    ) -> None:
        self._run = run_command
        self._queue = queue
        self._root = root
        self._drained = root / DRAINED.relative_to("/")
        self._queue_directory = root / "var/lib/postroad/queue"
        self._opt = root / "opt/postroad"
        self.warnings: list[str] = []

    def leftovers(self) -> list[Path]:
        """What of Postroad is on the host, in the order in which it goes."""
        systemd = self._root / "etc/systemd/system"
        found = [
            *systemd.glob("relay-agent.*"),
            # Of a change on trial, with what ran before it: passwords, too.
            systemd / "sysinit.target.wants" / BOOT_UNIT,
            systemd / BOOT_UNIT,
            *(self._root / "run").glob("postroad-deployment*"),
            *self._besides(),
            *systemd.glob("*.d/postroad.conf"),
            self._root / "usr/local/bin/relay-agent",
            self._root / "etc/postroad",
            # Of services beside the agent: settings, pages, a key of the name server.
            *(self._root / "etc").glob("postroad-*"),
            self._root / "run/postroad-profile",
            self._root / "var/lib/postroad",
            self._root / "var/lib/postroad-certificate",
            self._opt,
        ]
        return [path for path in found if path.is_symlink() or path.exists()]

    def _besides(self) -> list[Path]:
        """Units beside the agent's own two."""
        systemd = self._root / "etc/systemd/system"
        return [*systemd.glob("postroad-*"), *systemd.glob("relay-certificate.*")]

    def check(self, *, discard_mail: bool) -> None:
        """Raise RemovalError unless the host takes no mail and has none."""
        if not self.leftovers() or discard_mail:
            return
        if not (self._opt / "current").exists():
            if self._queue_directory.is_dir() and any(self._queue_directory.glob("*/queue.db")):
                raise RemovalError(
                    f"no agent is installed, but {self._queue_directory} has a queue: install the agent with site.yml "
                    "to see what is in it, or say relay_decommission_discard_mail=true"
                )
            return
        if not is_drained(self._drained):
            raise RemovalError("the host takes mail: run drain.yml for it first, and change the DNS")
        try:
            waiting = self._queue.waiting()
        except AgentQueueError as error:
            raise RemovalError(f"the agent does not say whether mail is left: {error}") from error
        if not waiting.nothing:
            held = (
                " What is held leaves only after `relay-agent queue release`, `bounce` or `delete`."
                if waiting.held
                else ""
            )
            raise RemovalError(
                f"the host still has {waiting}. Run drain.yml again, with -e relay_drain_to=RELAY to hand it to "
                f"another relay.{held} To throw it away, say relay_decommission_discard_mail=true."
            )

    def planned(self, *, discard_mail: bool) -> list[str]:
        """What `remove` would say; nothing changes. Raises RemovalError."""
        self.check(discard_mail=discard_mail)
        kept = [self._kept(self._aside("<time>"))] if self._damaged() else []
        return [*map(str, self.leftovers()), *kept]

    def remove(self, *, discard_mail: bool) -> list[str]:
        """Stop and remove everything; what was removed. Raises RemovalError, before anything is gone.

        Databases and journals that were set aside as damaged are kept, below /var/lib/postroad.damaged-<time>.
        """
        self.check(discard_mail=discard_mail)
        leftovers = self.leftovers()
        if not leftovers:
            return []
        removed = [str(path) for path in leftovers]
        # It would put back what ran before a change that is on trial, into the middle of this.
        self._run(["systemctl", "stop", f"{TIMER}.timer", f"{TIMER}.service"])
        units = Units(self._run)
        units.remove()
        try:
            # A bounce may have come about between the question and the stop.
            self.check(discard_mail=discard_mail)
        except RemovalError:
            self._run(["systemctl", "start", "relay-agent.service"])
            raise
        for path in self._besides():
            self._run(["systemctl", "disable", "--now", "--quiet", path.name])
        self._end_hold()
        removed += self._set_damaged_aside()
        HostDrain(self._run, self._queue, path=self._drained, units=self._root / "etc/systemd/system").forget()
        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self._run(["systemctl", "daemon-reload"])
        self._remove_table()
        self._run(["userdel", USER])
        self._run(["groupdel", USER])
        return removed

    def _end_hold(self) -> None:
        """Take away the mark by which drain.yml holds this relay out of the address list of the fleet's name.

        It would hold out the next host of this name, too. Nothing puts the address back: nobody answers there.
        """
        program = self._root / "usr/local/bin/relay-agent"
        if not ((self._root / "etc/postroad-failover.toml").exists() and program.exists()):
            return
        status, _, errors = self._run([str(program), "failover", "join", "--json"])
        if status != 0:
            self.warnings.append(
                f"{errors.strip() or f'relay-agent failover join: exit status {status}'}. The name server still holds "
                "this relay out of the address list: dns.yml ends that once the host is out of the inventory, and "
                "`relay-agent failover join` on the next host of its name."
            )

    def _damaged(self) -> list[Path]:
        return [path for pattern in _DAMAGED for path in sorted(self._queue_directory.glob(pattern))]

    def _aside(self, when: str) -> Path:
        return self._queue_directory.parent.with_name(f"postroad.damaged-{when}")

    @staticmethod
    def _kept(aside: Path) -> str:
        return f"(kept: {aside}, mail that could not be read)"

    def _set_damaged_aside(self) -> list[str]:
        damaged = self._damaged()
        if not damaged:
            return []
        aside = self._aside(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        aside.mkdir(mode=0o700)
        for number, path in enumerate(damaged):
            path.rename(aside / f"{number}-{path.name}")
        return [self._kept(aside)]

    def _remove_table(self) -> None:
        """Our table of the packet filter; nobody else's."""
        if self._run(["nft", "list", *_TABLE])[0] == 0:
            self._run(["nft", "delete", *_TABLE])

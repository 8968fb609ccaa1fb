# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory, whose agent takes up what it is told unless the test wants it otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.applied_state import AppliedState
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET

__all__ = ["Relay"]

RELEASES = ("aaaaaaaa", "bbbbbbbb")


class Relay:
    """The host, in the directory `root`. Stands where `AnsibleModule.run_command` stands.

    refuses: a configuration with which the agent neither starts nor reloads. schemas: of the queue, by release.
    disk_full: the queue cannot be brought back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.reloads: dict[str, Any] = {"done": 0, "refused": 0, "problems": ["no"]}
        self.refuses = ""
        self.schemas = dict.fromkeys(RELEASES, 2)
        self.disk_full = False
        self.up = True
        self.when: dict[str, Callable[[], Any]] = {}  # what happens meanwhile
        for release in RELEASES:
            (root / "opt/releases" / release).mkdir(parents=True)
            (root / "opt/releases" / release / "release.json").write_text("{}")
        for name in ("etc/secrets", "etc/tls", "units"):
            (root / name).mkdir(parents=True)
        store = ReleaseStore(root / "opt", root / "bin/relay-agent")
        places = {"etc": root / "etc", "opt": root / "opt", "unit_directory": root / "units", "runtime": root / "run"}
        self.state = HostState(self, store=store, **places)
        for name in (SOCKET, SERVICE):
            (root / "units" / name).write_text("[Unit]\n")

    def __call__(self, args: list[str]) -> tuple[int, str, str]:
        if args[0].endswith("/python"):
            return 0, f"{self.schemas[Path(args[0]).parts[-3]]}\n", ""
        if args[1] == "status":
            told = {"running": True, "pid": 1, "uptime": 9.0, "workers": [], "reloads": self.reloads}
            return (0, json.dumps(told), "") if self.up else (1, "", "")
        if args[1] == "metrics":
            return 0, "postroad_sessions 0\n", ""
        if args[1:3] == ["queue", "list"]:
            return 0, "[]", ""
        if args[1] == "show":
            state = "active" if self.up else "inactive"
            return 0, f"Id={SOCKET}\nActiveState={state}\n\nId={SERVICE}\nActiveState={state}\n", ""
        self.calls.append("downgrade" if args[1] == "queue" else args[1])
        self.when.get(args[1], lambda: None)()
        if args[1] == "queue" and self.disk_full:
            return 1, "", "database or disk is full\n"
        if args[1] == "stop" and SERVICE in args:
            self.up = False
        refused = bool(self.refuses) and self.state.config.read_text() == self.refuses
        if args[1] == "reload":
            self.reloads["refused" if refused else "done"] += 1
        if args[1] == "restart":
            self.up = not refused
            return (0, "", "") if self.up else (1, "", "Job failed\n")
        return 0, "", ""

    def runs(self, release: str, config: str, secret: str = "pw") -> AppliedState:
        """Have it run this, however it came to."""
        self.state.config.write_text(config)
        (self.state.secrets / "upstream").write_text(secret)
        self.state.store.switch(release)
        return self.state.state_on_disk(release)

    def proves(self, release: str, config: str, secret: str = "pw") -> int:
        number, _ = self.state.keep(self.runs(release, config, secret))
        self.calls.clear()
        return number

    def now(self) -> tuple[str | None, str, str]:
        secret = (self.state.secrets / "upstream").read_text()
        return self.state.store.current(), self.state.config.read_text(), secret

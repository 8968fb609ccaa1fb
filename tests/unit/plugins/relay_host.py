# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory, whose agent takes up what it is told unless the test wants it otherwise."""

import json
from pathlib import Path
from typing import Any

from ansible_collections.postroad.relay.plugins.module_utils.applied_state import AppliedState
from ansible_collections.postroad.relay.plugins.module_utils.host_state import HostState
from ansible_collections.postroad.relay.plugins.module_utils.release_store import ReleaseStore
from ansible_collections.postroad.relay.plugins.module_utils.systemd_units import SERVICE, SOCKET

__all__ = ["Relay"]

RELEASES = ("aaaaaaaa", "bbbbbbbb")


class Relay:
    """The host, in the directory `root`. Stands where `AnsibleModule.run_command` stands. refuses: a configuration."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.reloads: dict[str, Any] = {"done": 0, "refused": 0, "problems": ["no"]}
        self.refuses = ""
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
            return 0, "2\n", ""  # the schema of the queue
        if args[1] == "status":
            told = {"running": True, "pid": 1, "uptime": 9.0, "workers": [], "reloads": self.reloads}
            return 0, json.dumps(told), ""
        if args[1] in ("metrics", "queue"):
            return 0, "postroad_sessions 0\n" if args[1] == "metrics" else "[]", ""
        if args[1] == "show":
            return 0, f"Id={SOCKET}\nActiveState=active\n\nId={SERVICE}\nActiveState=active\n", ""
        self.calls.append(args[1])
        if args[1] == "reload":
            self.reloads["refused" if self.state.config.read_text() == self.refuses else "done"] += 1
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

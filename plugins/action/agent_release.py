# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of agent_release: asks the host what it is, builds what is missing here, sends it over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.postroad.relay.plugins.plugin_utils.release_build import (
    BuildError,
    Platform,
    ReleaseBuilder,
    SourceTree,
)

MODULE = "postroad.relay.agent_release"
ROOT = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):
    """One round trip when the release is there; otherwise build, send, install."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        found: dict[str, Any] = self._execute_module(module_name=MODULE, module_args={}, task_vars=task_vars)
        if found.get("failed") or "system" not in found:
            return found
        host = (task_vars or {}).get("inventory_hostname", "host")
        system = found["system"]
        platform = Platform(python=system["python"], machine=system["machine"], glibc=system["glibc"])
        try:
            source = SourceTree.read(ROOT)
            builder = ReleaseBuilder(source, cache_directory(), report=lambda text: _say(f"{host}: {text}"))
            release = builder.release_id(platform)
            if release in found["installed"]:
                return found | {"release": release}
            diff = _difference(found["current"], release)
            if self._task.check_mode:
                return found | {"release": release, "changed": True, "diff": diff}
            archive = builder.archive(platform)
        except BuildError as error:
            return {"failed": True, "msg": f"the agent could not be built on the controller: {error}"}
        _say(f"{host}: installing release {release} ({archive.stat().st_size // 1024} KiB)")
        arguments = {"release": release, "archive": self._send(archive)}
        done: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return done | {"changed": done.get("changed", False) or found["changed"], "diff": diff}

    def _send(self, archive: Path) -> str:
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        remote: str = self._connection._shell.join_path(directory, archive.name)
        self._transfer_file(str(archive), remote)
        self._fixup_perms2((directory, remote))
        return remote


def cache_directory() -> Path:
    """Where built releases are kept: in the checkout, or, where that is read-only, in the user's cache."""
    if os.access(ROOT, os.W_OK):
        return ROOT / ".build"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "postroad"


def _say(text: str) -> None:
    Display().display(f"    {text}")


def _difference(current: str | None, release: str) -> dict[str, str]:
    return {
        "before_header": "releases of the agent", "after_header": "releases of the agent",
        "before": f"{current or 'none'} (current)\n",
        "after": f"{current or 'none'} (current)\n{release} (installed beside it)\n",
    }  # fmt: skip

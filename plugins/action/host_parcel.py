# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of host_parcel: carries the file between host and controller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "postroad.relay.host_parcel"
_FETCHED = ("take", "save")
_SENT = ("give", "restore_files", "restore_mail")


class ActionModule(ActionBase):
    """The file is in the task's temporary directory on the host, which goes away with the task."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See the module's documentation."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        step, file = str(arguments.get("step", "")), arguments.get("file")
        if step in (*_FETCHED, *_SENT) and not file:
            return {"failed": True, "msg": f"host_parcel: {step} needs `file`, a path on the controller"}
        fetched = step in _FETCHED and not self._task.check_mode
        if fetched or step in _SENT:
            directory = self._connection._shell.tmpdir or self._make_tmp_path()
            arguments["path"] = self._connection._shell.join_path(directory, "parcel")
        if step in _SENT:
            try:
                self._transfer_file(self._loader.get_real_file(str(file)), arguments["path"])
            except AnsibleError as error:
                return {"failed": True, "msg": f"{file}: {error}"}
            self._fixup_perms2((directory, arguments["path"]))
        done: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        if fetched and not done.get("failed"):
            self._fetch(arguments["path"], Path(str(file)))
            host = (task_vars or {}).get("inventory_hostname", "host")
            Display().display(f"    {host}: {done['messages']} messages in {file}")
        return done

    def _fetch(self, remote: str, local: Path) -> None:
        local.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = local.with_name(f".{local.name}.partial")
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self._connection.fetch_file(remote, str(beside))
            beside.chmod(0o600)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(local)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

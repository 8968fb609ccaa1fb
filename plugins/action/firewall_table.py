# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of firewall_table: proves that the new rules let in the operator and the mail programs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.port_proof import closed_ports, resolvable

MODULE = "postroad.relay.firewall_table"
SECONDS = 45
"""Until the old rules come back, unless the task says otherwise: two attempts of an SSH client, in the minute."""
PORT_SECONDS = 8.0


class ActionModule(ActionBase):
    """Runs the module once when nothing is to be done, else: apply, prove, confirm; or see the old rules come back."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, marked failed when the rules could not be proved."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        result = self._module(arguments, task_vars)
        if result.get("missing_package"):
            result = self._install_and_retry(result["missing_package"], arguments, task_vars)
        if not result.get("pending"):
            return result
        begun = time.monotonic()
        proof: Mapping[str, Any] = arguments.get("proof") or {}
        seconds = int(proof.get("seconds") or SECONDS)
        host = task_vars.get("inventory_hostname", "this host")
        result["pending"] = False
        problem = self._submission_problem(result, proof)
        step = {**arguments, "step": "restore" if problem else "confirm", "connection": result["connection"]}
        done, unreachable = self._over_fresh_connection(step, task_vars, begun + seconds - 2)
        if done is None:
            problems = [f"SSH: {unreachable}", *([problem] if problem else [])]
            back = self._see_restored(begun + seconds, begun, step, task_vars)
        elif done.get("too_late"):
            problems, back = [f"SSH: no fresh connection in {seconds} s"], self._told_back({}, begun)
        elif not problem:
            return {**result, "failed": True, "msg": f"{host}: {done.get('msg')}"} if done.get("failed") else result
        else:
            problems = [problem]
            back = self._told_back(done, begun)
        text = f"{host}: under the new firewall rules this could not be reached: {'; '.join(problems)}. {back}"
        return {**result, "failed": True, "changed": False, "msg": text}

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return result

    def _install_and_retry(self, package: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        installed: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt", module_args={"name": package}, task_vars=task_vars
        )
        if installed.get("failed"):
            text = f"nft is not on this host, and the package {package} could not be installed: {installed.get('msg')}"
            return {"failed": True, "msg": text}
        return self._module(arguments, task_vars)

    def _submission_problem(self, result: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
        """Which submission ports let nobody in; empty as soon as one does, and where there is nothing to try."""
        if not result["served"] or not _true(proof.get("submission", True)):
            return ""
        address = str(proof.get("address") or "") or self._address(result["server"])
        if not address:
            return ""
        closed = closed_ports(address, result["served"], seconds=PORT_SECONDS)
        if len(closed) < len(result["served"]):
            return ""
        reasons = ", ".join(f"{port} ({reason})" for port, reason in closed.items())
        return f"the submission ports at {address}: {reasons}"

    def _address(self, server: str) -> str:
        """Where SSH goes: its name if that is one of the DNS, else the address that the host was reached at."""
        if self._connection.transport == "local":
            return server
        name = str(self._connection.get_option("host") or "") if self._connection.transport == "ssh" else ""
        return name if name and resolvable(name) else server

    def _over_fresh_connection(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], until: float
    ) -> tuple[dict[str, Any] | None, str]:
        """What the module returned over a new SSH connection; None, and why, when none could be made in time."""
        while True:
            try:
                self._leave_connection()
                return self._module(arguments, task_vars), ""
            except AnsibleConnectionFailure as error:
                reason = _last_line(str(error))
            if time.monotonic() + 5 > until:
                return None, reason
            time.sleep(1)

    def _leave_connection(self) -> None:
        """Leave the shared SSH connection, which the rules keep as established, for a new one.

        That it is new the module itself finds out, by its two ends.
        """
        if hasattr(self._connection, "reset"):
            self._connection.reset()

    def _see_restored(self, due: float, begun: float, step: dict[str, Any], task_vars: dict[str, Any]) -> str:
        """Stay until the host is due to have put the old rules back, and say what is so then."""
        time.sleep(max(0.0, due - time.monotonic()) + 2)
        try:
            self._leave_connection()
            return self._told_back(self._module({**step, "step": "restore"}, task_vars), begun)
        except AnsibleError as error:
            return (
                "The host was to put the old rules back by itself, but it cannot be reached after that either: "
                f"{_last_line(str(error))}"
            )

    @staticmethod
    def _told_back(done: Mapping[str, Any], begun: float) -> str:
        if done.get("failed"):
            return f"The old rules could not be put back: {done.get('msg')}"
        if done.get("put_back"):
            return "The old rules were put back at once; nothing was kept"
        took = round(time.monotonic() - begun)
        return f"The host put the old rules back by itself ({took} s later they let SSH in again); nothing was kept"


def _true(value: object) -> bool:
    """A boolean as it stands in a task, where it may still be text."""
    return str(value).strip().lower() in ("true", "yes", "on", "1", "y", "t")


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"

# SPDX-License-Identifier: GPL-3.0-or-later
"""The system user that the agent runs as: each role that needs it makes sure of it, in any order."""

from __future__ import annotations

import grp
import pwd
from typing import Protocol

__all__ = ["CommandRunner", "ServiceUserError", "ensure_service_user"]

NOLOGIN = "/usr/sbin/nologin"


class CommandRunner(Protocol):
    """What `AnsibleModule.run_command` looks like to us."""

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        """Run a command; return its exit status, stdout and stderr."""


class ServiceUserError(Exception):
    """The user or group could not be made; the text says which and why."""


def ensure_service_user(run_command: CommandRunner, name: str = "postroad", *, check_mode: bool = False) -> bool:
    """Make the system group and user `name` unless they exist; return whether anything changed (or would).

    The user has no password, no login shell, and a home that is not made. An existing user is left as it is:
    an operator may have given it an id of their own choice. Raises ServiceUserError.
    """
    missing_group = not _group_exists(name)
    missing_user = not _user_exists(name)
    if check_mode or not (missing_group or missing_user):
        return missing_group or missing_user
    if missing_group:
        _run(run_command, ["groupadd", "--system", name])
    if missing_user:
        home = ["--no-create-home", "--home-dir", "/nonexistent"]
        _run(run_command, ["useradd", "--system", "--gid", name, *home, "--shell", NOLOGIN, name])
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _run(run_command: CommandRunner, args: list[str]) -> None:
    status, _, stderr = run_command(args)
    if status != 0:
        raise ServiceUserError(f"{args[0]} {args[-1]} failed: {stderr.strip() or f'exit status {status}'}")

# SPDX-License-Identifier: GPL-3.0-or-later
"""A Postfix of its own directory: what every one of them needs, whatever it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PostfixInstance", "program"]

_ALWAYS = """compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = {commands}
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
"""
_SERVICES = (
    "postlog unix-dgram n - n - 1 postlogd",
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    *(f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")),
    "flush unix n - n 1000? 0 flush",
    *(f"{name} unix - - n - - {name}" for name in ("discard", "error", "smtp")),
    *(f"{name} unix - - n - 1 {name}" for name in ("anvil", "scache")),
)


def program(name: str) -> str:
    """Path of a program of the test packages; the test fails, with what to run, when it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{name} is missing: run scripts/test-packages.sh"
    return found


@dataclass
class PostfixInstance:
    """Queue, settings and log are in `directory`."""

    directory: Path

    def launch(self, settings: str, listeners: Iterable[str]) -> None:
        """Start it. settings: of main.cf, beside those that all have. listeners: lines of master.cf."""
        assert os.geteuid() == 0, "Postfix's master runs as root only: run the integration tests as root"
        for part in ("", "queue", "queue/pid", "data"):
            (self.directory / part).mkdir(exist_ok=True)
            (self.directory / part).chmod(0o755)
        shutil.chown(self.directory / "data", "postfix")
        always = _ALWAYS.format(directory=self.directory, commands=Path(program("postconf")).parent)
        (self.directory / "main.cf").write_text(_each_once(always + settings))
        (self.directory / "master.cf").write_text("\n".join([*listeners, *_SERVICES]) + "\n")
        done = self._tell("start")
        assert done.returncode == 0, f"postfix did not start: {done.stdout}{done.stderr}{self.log()}"

    def log(self) -> str:
        """Postfix's own log."""
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def stop(self) -> None:
        self._tell("stop")

    def _tell(self, what: str) -> subprocess.CompletedProcess[str]:
        command = [program("postfix"), "-c", str(self.directory), what]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def _each_once(settings: str) -> str:
    """The last value of each setting. Postfix warns of the others in every process; many warnings before its log is
    open fill the socket that leads there, and master waits for itself."""
    lines = (line for line in settings.splitlines() if line.strip())
    return "".join(f"{line}\n" for line in {line.partition("=")[0].strip(): line for line in lines}.values())

# SPDX-License-Identifier: GPL-3.0-or-later
"""A host to change at will: this machine in namespaces of its own, of which nothing is left afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Machine", "Play"]

ROOT = Path(__file__).parents[3]

# What is written to /etc, /opt, /usr/local/bin and /var/log goes to memory; /run begins empty. The network has no
# interface that is up, and no process outside can be seen: not even the SSH session that the tests were started from.
SETUP = """
set -e
mount -t tmpfs memory /mnt
for directory in etc opt usr/local/bin var/log; do
    mkdir -p /mnt/$directory/upper /mnt/$directory/work
    mount -t overlay overlay -o "lowerdir=/$directory,upperdir=/mnt/$directory/upper,workdir=/mnt/$directory/work" \
        /$directory
done
mount -t tmpfs memory /run
mkdir -p /run/systemd/system /run/units/active /run/units/enabled /run/lock
rm -f /etc/os-release
printf 'ID=debian\\nVERSION_ID="12"\\nPRETTY_NAME="Debian 12 for a test"\\n' > /etc/os-release
echo ready
exec sleep infinity
"""

# Stands for systemd, which cannot run twice on a kernel's cgroups: remembers what is active and enabled, and refuses
# once what /run/units/refused names.
SYSTEMCTL = """#!/bin/sh
cd /run/units
command=$1
shift
case $command in show|is-active|is-enabled) ;; *) echo "$command $*" >> asked ;; esac
if [ "$(cat refused 2>/dev/null)" = "$command" ]; then rm refused; echo "it refuses" >&2; exit 1; fi
case " $* " in *" --now "*) now=yes ;; *) now=no ;; esac
for unit; do
    case $unit in -*) continue ;; esac
    case $command in
        show)
            active=inactive; [ -e "active/$unit" ] && active=active
            enabled=disabled; [ -e "enabled/$unit" ] && enabled=enabled
            printf 'Id=%s\\nActiveState=%s\\nUnitFileState=%s\\nNeedDaemonReload=no\\n\\n' "$unit" $active $enabled ;;
        is-active) [ -e "active/$unit" ] || exit 3 ;;
        is-enabled) [ -e "enabled/$unit" ] || exit 1 ;;
        start|restart) touch "active/$unit" ;;
        stop) rm -f "active/$unit" ;;
        enable) touch "enabled/$unit"; [ $now = no ] || touch "active/$unit" ;;
        disable) rm -f "enabled/$unit"; [ $now = no ] || rm -f "active/$unit" ;;
    esac
done
exit 0
"""
PROGRAMS = {
    "systemctl": SYSTEMCTL,
    "systemd-run": '#!/bin/sh\necho "systemd-run $*" >> /run/units/asked\n',
    "journalctl": "#!/bin/sh\necho cannot bind\n",
}

# Runs modules each in a process of its own, as Ansible does; only the second that Python takes to load Ansible's part
# is spent once. A line in: path, arguments, environment. A line out: what was printed.
STARTER = """
import json, os, runpy, sys, traceback
import ansible.module_utils.basic

for line in sys.stdin:
    path, arguments, environment = json.loads(line)
    streams = [os.memfd_create(name) for name in ("in", "out", "err")]
    os.write(streams[0], arguments.encode())
    os.lseek(streams[0], 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        sys.argv = [path]
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin = open(0)
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print(json.dumps([os.pread(stream, 1 << 24, 0).decode() for stream in streams[1:]]), flush=True)
    for stream in streams:
        os.close(stream)
"""


@dataclass(frozen=True)
class Play:
    """A playbook that ended: its exit status, all it printed at -vvv, and the result of each task by its name."""

    status: int
    output: str
    results: Mapping[str, Mapping[str, Any]]


@dataclass
class Machine:
    """The host. `scratch` is a directory of the test's that it sees, too."""

    process: int
    scratch: Path
    environment: dict[str, str] = field(default_factory=dict)
    _starter: subprocess.Popen[str] | None = None

    @classmethod
    @contextmanager
    def made(cls, scratch: Path) -> Iterator[Machine]:
        """A host for as long as the context lasts. Fails the test where there is no right to make one."""
        if os.geteuid() != 0:
            raise AssertionError("this test makes namespaces, users and packet filter rules: run it as root")
        programs = scratch / "programs"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with subprocess.Popen([*command, "sh", "-c", SETUP], stdout=subprocess.PIPE, text=True) as holder:
            machine = None
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "ready\n", "no host could be made of this machine"
                children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
                machine = cls(int(children[0]), scratch)
                machine.environment["PATH"] = f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin"
                yield machine
            finally:
                if machine is not None and machine._starter is not None:
                    machine._starter.communicate()
                holder.kill()

    def run(self, *args: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, whatever its exit status."""
        return subprocess.run(
            self._inside(*args),
            env=self._variables() | environment,
            input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def _inside(self, *args: str) -> list[str]:
        return ["nsenter", f"--target={self.process}", "--mount", "--net", "--pid", f"--wd={ROOT}", "--", *args]

    def _variables(self) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
        return known | {"PYTHONPATH": str(ROOT / ".venv" / "collections")} | self.environment

    def sh(self, script: str) -> str:
        """What a shell script printed; its failure is an error that shows what it said."""
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def module(
        self, name: str, arguments: Mapping[str, Any], *, check: bool = False, connection: str = ""
    ) -> dict[str, Any]:
        """Run a module of the collection as Ansible does on a target and return its result.

        `connection` is the SSH_CONNECTION that the module finds.
        """
        given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
        path = str(ROOT / "plugins" / "modules" / f"{name}.py")
        environment = {"SSH_CONNECTION": connection} if connection else {}
        if self._starter is None:
            command = self._inside(sys.executable, "-c", STARTER)
            pipe = subprocess.PIPE
            self._starter = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self._variables())
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write(json.dumps([path, json.dumps(given), environment]) + "\n")
        self._starter.stdin.flush()
        output, errors = json.loads(self._starter.stdout.readline())
        lines = output.strip().splitlines()
        assert lines, errors
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    def play(self, tasks: Sequence[Mapping[str, Any]], *, collections: Path | None = None) -> Play:
        """Run tasks by ansible-playbook on the host itself, with everything shown; a failed one does not end it."""
        found = self.scratch / "results"
        found.mkdir()
        play = [{"hosts": "all", "gather_facts": False, "tasks": [{"ignore_errors": True, **task} for task in tasks]}]
        (self.scratch / "play.yml").write_text(json.dumps(play))
        inventory = self.scratch / "inventory" / "hosts.yml"
        inventory.parent.mkdir(exist_ok=True)
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory.write_text(json.dumps({"all": {"hosts": {"relay.example.org": variables}}}))
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        done = self.run(
            *[ansible, "--diff", "-vvv", f"--inventory={inventory}", str(self.scratch / "play.yml")],
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callback")),
            ANSIBLE_CALLBACKS_ENABLED="results",
            POSTROAD_RESULTS=str(found),
            ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
            ANSIBLE_HOME=str(self.scratch / "ansible"),
            ANSIBLE_NOCOLOR="1",
            **({"ANSIBLE_COLLECTIONS_PATH": str(collections)} if collections else {}),
        )
        results = {path.name: json.loads(path.read_text()) for path in found.iterdir()}
        return Play(done.returncode, done.stdout + done.stderr, results)

    def path(self, name: str) -> Path:
        """A file of the host as it is seen from outside; links that are absolute lead astray."""
        return Path(f"/proc/{self.process}/root") / name.lstrip("/")

    def asked(self) -> list[str]:
        """What was asked of systemd since the last look, questions about states left out."""
        log = self.path("/run/units/asked")
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def refuse(self, command: str) -> None:
        """Have systemd refuse this command once."""
        self.path("/run/units/refused").write_text(command)

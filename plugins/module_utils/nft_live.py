# SPDX-License-Identifier: GPL-3.0-or-later
"""Our packet filter table on a running host: read it, try it out, put it in place, have it put back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import SHUT_OUT_SETS, TABLE
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner

__all__ = ["BOOT_FILE", "BOOT_UNIT", "NftError", "PacketFilter", "boot_units", "write_file"]

BOOT_FILE = Path("/etc/postroad/firewall.nft")
BOOT_UNIT = "postroad-firewall.service"
RUNTIME_DIRECTORY = Path("/run/postroad-firewall")
RESTORE_UNIT = "postroad-firewall-restore"


class NftError(Exception):
    """nft or systemd refused; the text carries what they said."""


def boot_units(nft: str) -> dict[Path, str]:
    """What systemd reads to have the table there at boot, before any network, and ever after: content by path.

    Debian's nftables.service flushes every table when it starts, stops or reloads, ours too. A unit beside it
    learns of a reload too early and of a first start not at all, so an addition to it loads ours again each time.
    """
    load = f"{nft} -f {BOOT_FILE}"
    unit = f"""\
# Written by Postroad (role relay_firewall).
[Unit]
Description=Postroad packet filter (table {TABLE})
DefaultDependencies=no
After=local-fs.target nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists={BOOT_FILE}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={load}
ExecReload={load}
ExecStop=-{nft} delete table {TABLE}

[Install]
WantedBy=sysinit.target
"""
    addition = f"""\
# Written by Postroad (role relay_firewall): the flush of this unit takes the table {TABLE} with it.
[Service]
ExecStartPost=-{load}
ExecReload=-{load}
ExecStop=-{load}
"""
    directory = Path("/etc/systemd/system")
    return {directory / BOOT_UNIT: unit, directory / "nftables.service.d" / "postroad.conf": addition}


def write_file(path: Path, content: str, mode: int = 0o644) -> None:
    """Put `content` at `path` whole or not at all, also across a power cut."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


class PacketFilter:
    """The table on this host, through the `nft` program.

    What is compared is stateless and terse (no counters, no elements of sets): the rules.
    """

    def __init__(self, run_command: CommandRunner, nft: str, runtime_directory: Path = RUNTIME_DIRECTORY) -> None:
        """Use `nft` (a path); stage files in `runtime_directory`, which a reboot empties."""
        self._run_command = run_command
        self._nft = nft
        self.staged_rules = runtime_directory / "staged.nft"
        self._loaded_file = runtime_directory / "loaded.nft"
        self._restore_file = runtime_directory / "restore.nft"
        self._runtime_directory = runtime_directory

    def _run(self, what: str, args: list[str]) -> str:
        status, output, errors = self._run_command(args)
        if status != 0:
            raise NftError(f"{what}: {errors.strip() or output.strip() or f'exit status {status}'}")
        return output

    def live(self) -> str:
        """Our table as the kernel has it, empty when there is none."""
        status, output, _ = self._run_command([self._nft, "-st", "list", "table", *TABLE.split()])
        return output if status == 0 else ""

    def shut_out(self, rules: str) -> str:
        """Commands that keep shut out, under `rules`, who is so now, each for the rest of its time."""
        commands = []
        for name in SHUT_OUT_SETS.values():
            status, output, _ = self._run_command([self._nft, "-j", "list", "set", *TABLE.split(), name])
            if status != 0 or f"set {name} {{" not in rules:
                continue
            listed = [entry["set"] for entry in json.loads(output)["nftables"] if "set" in entry]
            found = [each["elem"] for each in listed[0].get("elem", []) if "expires" in each.get("elem", {})]
            elements = [f"{each['val']} timeout {each['expires']}s" for each in found if each["expires"] > 0]
            if elements:
                commands.append(f"add element {TABLE} {name} {{ {', '.join(elements)} }}\n")
        return "".join(commands)

    def as_loaded(self, rules: str) -> str:
        """What `live` would say had `rules` been loaded: tried in a network namespace of its own.

        Raises NftError with nft's message and line when the rules are wrong.
        """
        script = '"$0" -f "$1" && exec "$0" -st list table inet postroad'
        with tempfile.NamedTemporaryFile("w", prefix="postroad-", suffix=".nft", encoding="utf-8") as trial:
            trial.write(rules)
            trial.flush()
            args = ["unshare", "--net", "sh", "-c", script, self._nft, trial.name]
            return self._run("the rules do not load, the live rules are untouched", args)

    def stage(self, rules: str) -> None:
        """Keep `rules` for `apply` and the confirmation."""
        self._runtime_directory.mkdir(mode=0o700, exist_ok=True)
        write_file(self.staged_rules, rules, 0o600)

    def apply(self, rules: str, *, restore_after: int) -> None:
        """Load `rules` in one transaction, with a timer armed before that puts the old ones back.

        The timer runs `restore_after` seconds unless `disarm` comes first. Raises NftError; the old rules are
        then in place still and no timer is armed.
        """
        self.stage(rules)
        self._run("the rules are refused", [self._nft, "-c", "-f", str(self.staged_rules)])
        # A listing has no delete in front: loaded as it is, it would double the rules.
        status, old, _ = self._run_command([self._nft, "-s", "list", "table", *TABLE.split()])
        before = old if status == 0 else ""
        write_file(self._restore_file, f"table {TABLE} {{}}\ndelete table {TABLE}\n{before}", 0o600)
        self._run("the old rules could not be read back", [self._nft, "-c", "-f", str(self._restore_file)])
        self.disarm()
        timer = [f"--on-active={restore_after}", "--timer-property=AccuracySec=1s", f"--unit={RESTORE_UNIT}"]
        command = [self._nft, "-f", str(self._restore_file)]
        self._run("the timer could not be armed", ["systemd-run", "--quiet", "--collect", *timer, *command])
        try:
            write_file(self._loaded_file, rules + self.shut_out(rules), 0o600)
            self._run("the rules did not load", [self._nft, "-f", str(self._loaded_file)])
        except (NftError, OSError):
            self.disarm()
            raise

    def restore(self) -> bool:
        """Put the old rules back now; False when they are back already. Raises NftError.

        The timer is stopped only when they are: should this be cut off, it still does its part.
        """
        if not self._restore_file.exists():
            raise NftError("there is no copy of the old rules on the host: nothing was applied since it booted")
        back = self.as_loaded(self._restore_file.read_text(encoding="utf-8")) == self.live()
        if not back:
            self._run("the old rules did not load", [self._nft, "-f", str(self._restore_file)])
        self.disarm()
        self.staged_rules.unlink(missing_ok=True)
        return not back

    def disarm(self) -> None:
        """Stop the timer that would put the old rules back; quiet when none is armed."""
        self._run_command(["systemctl", "stop", f"{RESTORE_UNIT}.timer"])

    def boots(self) -> bool:
        """Whether the unit is enabled and its rules count as loaded."""
        enabled, _, _ = self._run_command(["systemctl", "is-enabled", "--quiet", BOOT_UNIT])
        active, _, _ = self._run_command(["systemctl", "is-active", "--quiet", BOOT_UNIT])
        return enabled == 0 and active == 0

    def keep(self, rules: str, units: dict[Path, str]) -> None:
        """Make `rules` what the host boots with."""
        write_file(BOOT_FILE, rules)
        for path, content in units.items():
            write_file(path, content)
        self._run("systemd", ["systemctl", "daemon-reload"])
        self._run(f"{BOOT_UNIT} could not be enabled", ["systemctl", "enable", "--quiet", "--now", BOOT_UNIT])

# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's certificate and key on a host: pairs kept whole, switched in one step, readable by the agent alone.

Each pair has a directory under `versions`; `current` is a symbolic link to one of them, and the names that the
agent's configuration uses lead through it. Moving the link switches certificate and key together.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import ssl
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ansible_collections.postroad.relay.plugins.module_utils.host_drain import is_drained
from ansible_collections.postroad.relay.plugins.module_utils.service_user import CommandRunner, ensure_service_user

__all__ = ["AGENT_UNIT", "CERTIFICATE", "KEY", "TlsStore", "TlsStoreError"]

AGENT_UNIT = "relay-agent.service"
PROGRAM = Path("/opt/postroad/current/bin/relay-agent")
CERTIFICATE = "fullchain.pem"
KEY = "privkey.pem"
KEPT_VERSIONS = 3
DRAINED_FILE = "drained.json"
DRAINED = "this host is drained, and all its ports are closed"


class TlsStoreError(Exception):
    """The pair could not be read, made or put in place; the text says which file and why."""


class TlsStore:
    """The directory (usually /etc/postroad/tls) and what is in it."""

    def __init__(self, run_command: CommandRunner, directory: Path, user: str) -> None:
        """Nothing is touched before a method is called. `user` is whose group may read."""
        self._run_command = run_command
        self._user = user
        self.directory = directory
        self._versions = directory / "versions"
        self._current = directory / "current"
        self._requested_key = directory / "requested" / KEY
        self._next_key = directory / "next" / KEY
        self._not_taken_up = directory / ".switched"
        self._not_proved = directory / ".unproved"

    def misplaced(self) -> list[str]:
        """What `prepare` will make or change: each place with what is wrong with it. Looks only."""
        if not self._versions.is_dir():
            return [f"{path} is missing" for path in (self.directory, self._versions) if not path.is_dir()]
        paths = [self.directory, self._versions, *sorted(self._versions.rglob("*"))]
        return [f"{path} has another owner or mode" for path in paths if not self._is_owned(path)]

    def prepare(self, *, check_mode: bool) -> bool:
        """See to the user, the directories, owners and modes; return whether any of it changed (or would)."""
        changed = ensure_service_user(self._run_command, self._user, check_mode=check_mode)
        changed |= bool(self.misplaced())
        if check_mode or not changed:
            return changed
        self.directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for directory in (self.directory, self._versions):
            directory.mkdir(mode=0o750, exist_ok=True)
        for path in [self.directory, self._versions, *sorted(self._versions.rglob("*"))]:
            self._own(path)
        return True

    def _is_owned(self, path: Path) -> bool:
        """Whether its owner is root, its group the agent's, and no one else may look."""
        try:
            group = pwd.getpwnam(self._user).pw_gid
        except KeyError:
            return False  # check mode, before the user is made
        status = path.stat()
        return (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, group, _mode(path))

    def _own(self, path: Path) -> None:
        """Make it so."""
        if not self._is_owned(path):
            os.chown(path, 0, pwd.getpwnam(self._user).pw_gid)
            path.chmod(_mode(path))

    def chain(self) -> str:
        """The certificate in use with those behind it, in PEM; empty when there is none."""
        try:
            return (self.directory / CERTIFICATE).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return ""

    def key_matches(self, certificate: Path | None = None, key: Path | None = None) -> bool:
        """Whether key and certificate are a pair; those in use by default."""
        certificate = certificate or self.directory / CERTIFICATE
        key = key or self.directory / KEY
        of_certificate = self._run_command(["openssl", "x509", "-in", str(certificate), "-noout", "-pubkey"])
        # "pass:" is no passphrase: openssl must not ask for one.
        of_key = self._run_command(["openssl", "pkey", "-in", str(key), "-passin", "pass:", "-pubout"])
        return of_certificate[0] == 0 and of_key[0] == 0 and of_certificate[1].strip() == of_key[1].strip()

    def is_taken_up(self) -> bool:
        """Whether the run that put the pair in use got as far as the agent's reload."""
        return not self._not_taken_up.exists()

    def prove_again(self) -> str:
        """Look whether the ports show the pair in use, where they could not when it was put there.

        Returns why they still do not, "" when they do. An agent that does not run is not spoken of: its starting is
        looked at elsewhere. Not for check mode.
        """
        if not self._not_proved.exists() and not self._renewal_is_unproved():
            return ""
        if self._drained():
            return DRAINED
        if not self._active():
            return ""
        try:
            # The agent has started with it: no old worker answers any more.
            self._prove("--within", "30")
        except TlsStoreError as error:
            return str(error)
        self._not_proved.unlink(missing_ok=True)
        return ""

    def _renewal_is_unproved(self) -> bool:
        """Whether the host's own renewal put a pair in use that no port could show; see the agent's `certificates`."""
        try:
            return bool(json.loads((self.directory / "renewal.json").read_text(encoding="utf-8")).get("unproved"))
        except (OSError, ValueError, AttributeError):
            return False

    def request(self) -> str:
        """Make a new key, which never leaves this host, and return a certificate request for it (PEM).

        A key that `relay-agent certificate tlsa` has made, and printed the record of, is taken instead.
        """
        self._requested_key.parent.mkdir(mode=0o700, exist_ok=True)
        key = str(self._requested_key)
        if self._next_key.exists():
            shutil.copy(self._next_key, self._requested_key)
        else:
            generate = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]
            self._openssl("no key could be made", generate)
        # The authority sets subject and names itself; the request only proves that the key is here.
        return self._openssl("no request could be made", ["openssl", "req", "-new", "-key", key, "-subj", "/CN=relay"])

    def _openssl(self, what: str, args: list[str]) -> str:
        status, output, errors = self._run_command(args)
        if status != 0:
            raise TlsStoreError(f"{what}: {errors.strip()}")
        return output

    def install(self, chain: str, key: str | None = None) -> bool:
        """Put the pair in use, reload the agent if it runs, and return whether it was reloaded.

        Without `key` it is the one that `request` made. A pair that does not match, that the agent cannot be reloaded
        with, or that its ports do not show then, raises TlsStoreError; the one before is then in use as it was. Where
        no port is open, on a drained host, the pair stays without that proof: `prove_again` makes up for it.
        """
        if key is None:
            try:
                key = self._requested_key.read_text(encoding="ascii")
            except FileNotFoundError:
                raise TlsStoreError("no key was made for this certificate, and none was given") from None
        version = self._write_version(chain, key)
        if not self.key_matches(version / CERTIFICATE, version / KEY):
            shutil.rmtree(version)
            raise TlsStoreError("the private key does not belong to the certificate; the pair in use was kept")
        before = self._current.readlink() if self._current.is_symlink() else None
        told_of_before, proved_before = self.is_taken_up(), not self._not_proved.exists()
        self._not_taken_up.touch(mode=0o600)
        self._point(self._current, Path("versions") / version.name)
        for name in (CERTIFICATE, KEY):
            self._point(self.directory / name, Path("current") / name)
        self._not_proved.touch(mode=0o600)
        try:
            reloaded = self._reload_agent()
            if reloaded and not self._drained():
                self._prove()
                self._not_proved.unlink()
        except TlsStoreError as error:
            if before is not None and self._has_ended(self.directory / before / CERTIFICATE):
                # Nothing is better than what mail programs may come to see.
                raise TlsStoreError(f"the new certificate, in place of one that has ended: {error}") from error
            if before is not None:
                self._point(self._current, before)
                self._run_command(["systemctl", "reload", AGENT_UNIT])
                if proved_before:
                    self._not_proved.unlink()
            if told_of_before:
                self._not_taken_up.unlink(missing_ok=True)
            back = "there is no pair before it" if before is None else "the pair before is back"
            raise TlsStoreError(f"the new certificate does not work, {back}: {error}") from error
        self._not_taken_up.unlink(missing_ok=True)
        shutil.rmtree(self._requested_key.parent, ignore_errors=True)
        if self._next_key.exists() and self._next_key.read_text(encoding="ascii") == key:
            self._next_key.unlink()
        self._prune()
        return reloaded

    def _write_version(self, chain: str, key: str) -> Path:
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        try:
            first = chain[chain.index(begin) : chain.index(end)] + f"{end}\n"
            fingerprint = sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
        except ValueError as error:
            raise TlsStoreError("the chain holds no certificate in PEM form; the pair in use was kept") from error
        # To the microsecond: a directory that is in use must never be written to again.
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        version = self._versions / f"{stamp}-{fingerprint[:12]}"
        version.mkdir(mode=0o750, parents=True)
        for name, content in ((CERTIFICATE, chain), (KEY, key)):
            path = version / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            self._own(path)
        self._own(version)
        return version

    @staticmethod
    def _point(link: Path, target: Path) -> None:
        """Make `link` lead to `target` in one step, also where a file or another link is now."""
        if link.is_symlink() and link.readlink() == target:
            return
        temporary = link.with_name(f".{link.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)

    def _reload_agent(self) -> bool:
        if not self._active():
            return False
        status, _, errors = self._run_command(["systemctl", "reload", AGENT_UNIT])
        if status != 0:
            raise TlsStoreError(f"{AGENT_UNIT} could not be reloaded: {' '.join(errors.split())}")
        return True

    def _active(self) -> bool:
        return self._run_command(["systemctl", "is-active", "--quiet", AGENT_UNIT])[0] == 0

    def _drained(self) -> bool:
        """Whether the host takes no mail: its agent runs, with all ports closed."""
        return is_drained(self.directory.parent / DRAINED_FILE)

    def _has_ended(self, certificate: Path) -> bool:
        command = ["openssl", "x509", "-in", str(certificate), "-noout", "-checkend", "0"]
        # Also 1 where there is no certificate in it.
        return self._run_command(command)[0] != 0

    def _prove(self, *options: str) -> None:
        """Have the agent's release look at its own ports, where it knows how to."""
        if not PROGRAM.exists():
            return
        status, _, errors = self._run_command([str(PROGRAM), "certificate", "prove", *options])
        # 2: a release that has no such command.
        if status not in (0, 2):
            raise TlsStoreError(errors.strip() or f"relay-agent certificate prove: exit status {status}")

    def _prune(self) -> None:
        """Keep the latest versions; the one in use is always among them."""
        current = self._current.resolve().name
        versions = sorted(entry.name for entry in self._versions.iterdir() if entry.name != current)
        for name in versions[: -(KEPT_VERSIONS - 1)]:
            shutil.rmtree(self._versions / name)


def _mode(path: Path) -> int:
    return 0o750 if path.is_dir() else 0o640

# SPDX-License-Identifier: GPL-3.0-or-later
"""From one private authority to the next, in stages, so that every device trusts the new one before a relay shows it.

In the authority's directory, `ca.pem` is what people are given: first the authority that signs, then another one that
is trusted beside it. `ca.key` is the key of the first. `next.key` is there from `prepare` to `switch`, `previous.key`
from `switch` to `finish`. A stage that was cut short is finished by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    private_key_matches,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import (
    CLOCK_SKEW,
    PrivateCa,
    ignore_keys,
    locked,
    write_whole,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization

__all__ = ["CaRotation", "StageResult"]

RUN = "ansible-playbook playbooks/rotate_ca.yml -e rotate_ca_stage="
BACKUP = "Put next.key, as ca.key before, into a vault (ansible-vault encrypt) and into your backup."


@dataclass(frozen=True)
class StageResult:
    """before and after: the authorities in lines, as a diff shows them. text: for the operator."""

    changed: bool
    text: str
    before: str
    after: str


class CaRotation:
    """One authority's directory. A stage raises CertificateError when it is not its turn; `check_mode` only looks."""

    def __init__(
        self,
        directory: Path,
        *,
        read_key: Callable[[Path], bytes] = Path.read_bytes,
        check_mode: bool = False,
        now: datetime | None = None,
    ) -> None:
        """`read_key` reads a key's file, which may be in a vault."""
        self._directory = directory
        self._read_key = read_key
        self._check = check_mode
        self._now = now or datetime.now(UTC)
        self._key, self._next, self._previous = (directory / f"{name}.key" for name in ("ca", "next", "previous"))

    def run(self, stage: str, *, domains: Sequence[str] = (), wait: timedelta = timedelta(days=14)) -> StageResult:
        """Do a stage, or nothing if it has been done: "status", "prepare", "switch", "finish" or "cancel".

        domains: as of relay_tls_certificate.ca_domains, for the new authority. wait: between `prepare` and `switch`.
        """
        if not (self._directory / "ca.pem").exists():
            raise CertificateError(f"{self._directory} has no authority yet: site.yml makes the first")
        with locked(self._directory):
            match stage:
                case "prepare":
                    return self._prepare(domains, wait)
                case "switch":
                    return self._switch(wait)
                case "finish":
                    return self._finish()
                case "cancel":
                    return self._cancel()
            return self._result(False, self._status(wait))

    def _trusted(self) -> list[x509.Certificate]:
        return PrivateCa.read_trusted(self._directory)

    def _status(self, wait: timedelta) -> str:
        trusted = self._trusted()
        if self._previous.exists() or len(trusted) > 1:
            if not self._next.exists():
                return self._said_switched()
            if not self._previous.exists():
                return self._said_prepared(wait)
            return f"The stage switch was cut short. Run it again: {RUN}switch"
        if self._next.exists():
            return f"The stage prepare was cut short. Run it again: {RUN}prepare"
        return f"One authority, {_name(trusted[0])}. To begin with another one: {RUN}prepare"

    def _prepare(self, domains: Sequence[str], wait: timedelta) -> StageResult:
        trusted = self._trusted()
        if self._previous.exists():
            raise CertificateError(f"the authority was switched and the rotation not finished: {RUN}finish comes first")
        if len(trusted) > 1:
            return self._result(False, self._said_prepared(wait))
        after = f"{_lines(trusted)}trusted beside it: a new authority\n"
        if self._check:
            return StageResult(
                True, "A new authority would be made and handed out beside this one.", _lines(trusted), after
            )
        made = PrivateCa.make(domains, self._now)
        ignore_keys(self._directory)
        # The key first: a certificate whose key is lost would be given to people for nothing.
        write_whole(self._next, made.private_pem(), 0o600)
        self._write([trusted[0], made.certificate])
        return StageResult(True, f"{self._said_prepared(wait)}\n{BACKUP}", _lines(trusted), after)

    def _switch(self, wait: timedelta) -> StageResult:
        trusted = self._trusted()
        if self._previous.exists() and not self._next.exists():
            return self._result(False, self._said_switched())
        if len(trusted) < 2 or not self._next.exists():
            raise CertificateError(f"no new authority has been handed out yet: {RUN}prepare comes first")
        new, old = trusted if self._is_next(trusted[0]) else trusted[::-1]
        if not self._is_next(new):
            raise CertificateError(f"{self._next} is not the key of the authority that was handed out in ca.pem")
        left = self._made(new) + wait - self._now
        if left > timedelta() and not self._previous.exists():
            raise CertificateError(
                f"the new authority has been handed out for {_days(self._now - self._made(new))}, and people have "
                f"{_days(wait)} to install it; run again in {_days(left)}, or with "
                "-e rotate_ca_wait_days=0 when all have"
            )
        before, after = _lines([old, new]), _lines([new, old])
        if self._check:
            return StageResult(True, f"{_name(new)} would sign from now on.", before, after)
        if not self._previous.exists():
            write_whole(self._previous, self._key.read_bytes(), 0o600)
        self._write([new, old])
        self._next.replace(self._key)
        return StageResult(True, self._said_switched(), before, after)

    def _finish(self) -> StageResult:
        trusted = self._trusted()
        if self._next.exists():
            raise CertificateError(f"the relays still show the authority before: {RUN}switch comes first")
        if len(trusted) == 1 and not self._previous.exists():
            return self._result(False, f"Finished: {_name(trusted[0])} alone is handed out.")
        before, after = _lines(trusted), _lines(trusted[:1])
        if not self._check:
            self._write(trusted[:1])
            self._previous.unlink(missing_ok=True)
        text = (
            f"Finished: {self._directory / 'ca.pem'} has {_name(trusted[0])} alone. Devices may forget "
            f"{', '.join(map(_name, trusted[1:])) or 'the one before'}; its key is gone from here, take it out of "
            "your backup."
        )
        return StageResult(True, text, before, after)

    def _cancel(self) -> StageResult:
        trusted = self._trusted()
        if self._previous.exists():
            raise CertificateError("the relays show the new authority already: finish, then rotate again if need be")
        if len(trusted) == 1 and not self._next.exists():
            return self._result(False, "There is no rotation to cancel.")
        if not self._check:
            self._write(trusted[:1])
            self._next.unlink(missing_ok=True)
        others = ", ".join(map(_name, trusted[1:])) or "the other"
        text = f"Cancelled: {_name(trusted[0])} stays. Devices may forget {others}."
        return StageResult(True, text, _lines(trusted), _lines(trusted[:1]))

    def _said_prepared(self, wait: timedelta) -> str:
        old, new = self._trusted()[:2]
        return (
            f"Two authorities are handed out, {_name(old)}, which signs, and {_name(new)}. Give everybody "
            f"{self._directory / 'ca.pem'} again, it has both, and have both installed.\n"
            f"When all have them, from {self._made(new) + wait:%Y-%m-%d} on: {RUN}switch"
        )

    def _said_switched(self) -> str:
        return (
            f"{_name(self._trusted()[0])} signs, the one before is still trusted beside it. The stage switch gives "
            f"every relay a certificate of the new one; when it has on all of them: {RUN}finish"
        )

    def _result(self, changed: bool, text: str) -> StageResult:
        lines = _lines(self._trusted())
        return StageResult(changed, text, lines, lines)

    def _is_next(self, certificate: x509.Certificate) -> bool:
        return private_key_matches(certificate, self._read_key(self._next).decode("ascii", "replace"), str(self._next))

    def _write(self, certificates: Sequence[x509.Certificate]) -> None:
        content = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)
        write_whole(self._directory / "ca.pem", content, 0o644)

    @staticmethod
    def _made(certificate: x509.Certificate) -> datetime:
        return certificate.not_valid_before_utc + CLOCK_SKEW


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _lines(certificates: Sequence[x509.Certificate]) -> str:
    roles = ("signs", *("trusted beside it",) * (len(certificates) - 1))
    return "".join(f"{role}: {_name(each)}\n" for role, each in zip(roles, certificates, strict=True))


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"

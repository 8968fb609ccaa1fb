# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what the configuration names on this host: certificate and key, passwords, accounts, directories."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .certificate import validity
from .schema import Config, Dkim, Hop, OAuth, Tls

__all__ = ["Fault", "check_host"]

Fault = tuple[str, str, bool]  # key, problem, whether it is only a warning

_EXPIRY_WARNING = timedelta(days=21)
_MAX_SECRET_BYTES = 65_536


class _EncryptedKeyError(Exception):
    """The key asks for a passphrase."""


def check_host(config: Config) -> Iterator[Fault]:
    """Each fault of what the configuration names on this host, as the current user sees it."""
    if config.tls is not None:
        yield from _check_tls(config.tls)
        if config.tls.client_ca is not None:
            yield from _check_authority("tls.client_ca", config.tls.client_ca)
    if any(listener.auth != "none" for listener in config.listener):
        yield from _check_accounts(config.accounts.file)
    for index, route in enumerate(config.route):
        for place, hop in enumerate(route.via):
            yield from _check_hop(f"route[{index}].via[{place}]", hop)
    for place, hop in enumerate(config.delivery.fallback_via):
        yield from _check_hop(f"delivery.fallback_via[{place}]", hop)
    if config.delivery.ca_file is not None:
        yield from _check_authority("delivery.ca_file", config.delivery.ca_file)
    if config.oauth is not None:
        yield from _check_oauth(config.oauth)
    yield from _check_queue(config.queue.directory)
    yield from _check_dkim(config)


def _check_tls(tls: Tls) -> Iterator[Fault]:
    faults = [
        (key, fault, False)
        for key, path in (("tls.certificate", tls.certificate), ("tls.key", tls.key))
        if (fault := _unreadable(path)) is not None
    ]
    if faults:
        yield from faults
        return
    yield from _check_pair(tls)
    if stat.S_IMODE(tls.key.stat().st_mode) & 0o004:
        yield "tls.key", f"{tls.key} can be read by every user of this host (expected mode 0640 or less)", True


def _check_pair(tls: Tls) -> Iterator[Fault]:
    def passphrase() -> str:
        raise _EncryptedKeyError

    try:
        text = tls.certificate.read_text("ascii", "replace")
        not_before, not_after = validity(text)
    except ValueError as error:
        yield (
            "tls.certificate",
            f"{tls.certificate}: {error} (expected PEM: the certificate, then the intermediates)",
            False,
        )
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a callback OpenSSL would ask on the terminal, and a service would hang.
        context.load_cert_chain(tls.certificate, tls.key, password=passphrase)
    except _EncryptedKeyError:
        yield "tls.key", f"{tls.key} is protected by a passphrase (expected a key without one, mode 0640)", False
        return
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield "tls.key", f"{tls.key} is not the key of the certificate {tls.certificate}", False
        else:
            reason = (error.reason or "not PEM").replace("_", " ").lower()
            yield "tls.key", f"{tls.certificate} and {tls.key} cannot be used together: {reason}", False
        return
    now = datetime.now(UTC)
    if not_after <= now:
        # A warning: an agent that would not start could not carry on with the mail that it already has.
        yield "tls.certificate", f"expired on {not_after:%Y-%m-%d %H:%M} UTC; mail programs refuse it", True
    elif not_after - now < _EXPIRY_WARNING:
        yield "tls.certificate", f"expires on {not_after:%Y-%m-%d %H:%M} UTC, in {(not_after - now).days} days", True
    if not_before > now:
        yield "tls.certificate", f"is not valid before {not_before:%Y-%m-%d %H:%M} UTC; is the clock right?", True


def _check_accounts(path: Path) -> Iterator[Fault]:
    from relay_agent.accounts.store import AccountsError, load_accounts

    try:
        accounts = load_accounts(path)
    except AccountsError as error:
        hint = "" if path.exists() else " (expected a file made by `relay-agent account add NAME`)"
        for problem in error.problems:
            yield "accounts.file", f"{problem}{hint}", False
    else:
        if not accounts:
            yield "accounts.file", f"{path} has no accounts: nobody can sign in", True


def _check_hop(key: str, hop: Hop) -> Iterator[Fault]:
    for name, what in (("password", "password"), ("client_secret", "secret"), ("refresh_token", "refresh token")):
        path = getattr(hop, f"{name}_file")
        if path is not None:
            yield from _check_secret(f"{key}.{name}_file", path, what)
    for name in ("ca_file", "token_ca_file"):
        path = getattr(hop, name)
        if path is not None:
            yield from _check_authority(f"{key}.{name}", path)
    if hop.client_certificate is not None and hop.client_key is not None:
        yield from _check_client_pair(key, hop.client_certificate, hop.client_key)
    if hop.token_command is not None and not os.access(hop.token_command[0], os.X_OK):
        yield f"{key}.token_command", f"{hop.token_command[0]} is no program that the current user may run", False


def _check_client_pair(key: str, certificate: Path, private: Path) -> Iterator[Fault]:
    def passphrase() -> str:
        raise _EncryptedKeyError

    faults = [
        (f"{key}.{name}", fault, False)
        for name, path in (("client_certificate", certificate), ("client_key", private))
        if (fault := _unreadable(path)) is not None
    ]
    if faults:
        yield from faults
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, private, password=passphrase)
    except _EncryptedKeyError:
        yield f"{key}.client_key", f"{private} is protected by a passphrase (expected a key without one)", False
    except (ssl.SSLError, ValueError) as error:
        reason = (getattr(error, "reason", None) or "not PEM").replace("_", " ").lower()
        yield f"{key}.client_key", f"{certificate} and {private} cannot be used together: {reason}", False
    if stat.S_IMODE(private.stat().st_mode) & 0o004:
        yield (
            f"{key}.client_key",
            f"{private} can be read by every user of this host (expected mode 0640 or less)",
            True,
        )


def _check_secret(key: str, path: Path, what: str) -> Iterator[Fault]:
    fault = _unreadable(path)
    if fault is not None:
        yield key, fault, False
        return
    with path.open("rb") as file:
        data = file.read(_MAX_SECRET_BYTES)
    line = data.splitlines()[0] if data else b""
    if not line:
        yield key, f"{path} has nothing in its first line (expected the {what})", False
    elif b"\0" in line:
        yield key, f"{path} has a NUL byte in its first line (expected the {what} as text)", False
    if stat.S_IMODE(path.stat().st_mode) & 0o004:
        yield key, f"{path} can be read by every user of this host (expected mode 0640 or less)", True


def _check_authority(key: str, path: Path) -> Iterator[Fault]:
    fault = _unreadable(path)
    if fault is not None:
        yield key, fault, False
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, ValueError):
        yield key, f"{path} holds no certificate (expected the authority's in PEM)", False


def _check_oauth(oauth: OAuth) -> Iterator[Fault]:
    if oauth.jwks_file is not None and (fault := _unreadable(oauth.jwks_file)) is not None:
        yield "oauth.jwks_file", fault, False
    if oauth.ca_file is not None:
        yield from _check_authority("oauth.ca_file", oauth.ca_file)


def _check_queue(directory: Path) -> Iterator[Fault]:
    key = "queue.directory"
    try:
        exists = directory.exists()
    except OSError:  # a directory above may not be entered
        exists = False
    if exists and not directory.is_dir():
        yield key, f"{directory} is not a directory", False
    elif exists and not _may_write(directory):
        yield key, f"{directory} cannot be written by the current user (expected: owned by the agent's user)", True
    elif not exists and not _may_write(directory.parent):
        yield key, f"{directory} does not exist and the current user cannot make it", True


def _check_dkim(config: Config) -> Iterator[Fault]:
    from relay_agent.dkim.places import DkimError, key_files

    try:
        files = key_files(config.dkim)
        signing = _signing(config.dkim) if files else frozenset()
    except DkimError as error:
        for problem in error.problems:
            yield "dkim", problem, False
        return
    for index, domain in enumerate(config.dkim.domains):
        if domain.lower() not in signing:
            hint = f"expected one from `relay-agent dkim new {domain}`"
            yield f"dkim.domains[{index}]", f"{domain} has no active key, so its mail is not signed ({hint})", True
    for path, *_ in files:
        if stat.S_IMODE(path.stat().st_mode) & 0o004:
            yield "dkim", f"{path} can be read by every user of this host (expected mode 0640 or less)", True
    if signing and config.submission.sender_check == "off":
        problem = '"off" lets every account send as any address, and mail from your domains is signed all the same'
        yield "submission.sender_check", f'{problem} (expected "listed" or "strict")', True


def _signing(dkim: Dkim) -> frozenset[str]:
    """The domains that mail is signed for. Raises DkimError."""
    from relay_agent.dkim.signer import keys_by_domain
    from relay_agent.dkim.store import load_keys

    return frozenset(keys_by_domain(load_keys(dkim), dkim))


def _may_write(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


def _unreadable(path: Path) -> str | None:
    """Why the file cannot be read, None when it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return f"{path} does not exist"
    except PermissionError:
        return f"{path} may not be read by the current user"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return f"{path!s:.200} cannot be read: {str(getattr(error, 'strerror', None) or error).lower()}"
    return None

# SPDX-License-Identifier: GPL-3.0-or-later
"""The private certificate authority of a fleet: a key and a certificate in one directory of the controller."""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import (
    CertificateError,
    general_names,
    issued_by,
    names_of,
    parse_chain,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CLOCK_SKEW", "PrivateCa", "ignore_keys", "locked", "renewal_reason", "subject_for", "write_whole"]

LIFETIME = timedelta(days=3650)
CLOCK_SKEW = timedelta(days=1)
"""A host whose clock is behind must still find its new certificate valid."""

NONE_ALLOWED = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, kw_only=True)
class PrivateCa:
    """Signs certificates for relays. Get one by `open` or `open_or_create`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read_certificate(cls, directory: Path) -> x509.Certificate | None:
        """The certificate of the authority that signs, None before there is an authority."""
        return next(iter(cls.read_trusted(directory)), None)

    @classmethod
    def read_trusted(cls, directory: Path) -> list[x509.Certificate]:
        """All of `ca.pem`, which people are given: the authority that signs, and during a rotation another one."""
        path = directory / "ca.pem"
        return parse_chain(path.read_text(encoding="utf-8"), str(path)) if path.exists() else []

    @classmethod
    def open_or_create(
        cls,
        directory: Path,
        *,
        domains: Sequence[str] = (),
        read_key: Callable[[Path], bytes] = Path.read_bytes,
        now: datetime | None = None,
    ) -> PrivateCa:
        """The authority in `directory`, made there when there is none; safe for many processes at once.

        `domains` (names and networks) bound for good what a new authority can vouch for (RFC 5280, 4.2.1.10).
        `read_key` reads the key file, which may be kept in a vault. Raises CertificateError.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(directory):
            certificate = cls.read_certificate(directory)
            key_path = directory / "ca.key"
            if certificate is None:
                if key_path.exists():
                    raise CertificateError(f"{directory}: ca.key is there and ca.pem is not; put it back")
                return cls._create(directory, domains, now or datetime.now(UTC))
        if not key_path.exists():
            raise CertificateError(f"{key_path}: the authority's key is not there, and without it nothing is signed")
        try:
            key = serialization.load_pem_private_key(read_key(key_path), password=None)
        except (TypeError, ValueError) as error:
            raise CertificateError(f"{key_path} holds no private key without a passphrase: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CertificateError(f"{key_path} is not the key of ca.pem beside it")
        return cls(certificate=certificate, key=key)

    @classmethod
    def _create(cls, directory: Path, domains: Sequence[str], now: datetime) -> PrivateCa:
        made = cls.make(domains, now)
        ignore_keys(directory)
        write_whole(directory / "ca.key", made.private_pem(), 0o600)
        write_whole(directory / "ca.pem", made.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return made

    @classmethod
    def make(cls, domains: Sequence[str], now: datetime) -> PrivateCa:
        """A new authority that is written nowhere yet. Raises CertificateError for `domains` that cannot be."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        # Part of the key's id in the name: two authorities in one key store can be told apart.
        common_name = f"Postroad private CA {public.digest.hex()[:8]}"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            # People install this on their devices: it must not be able to vouch for more than TLS servers.
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(public, critical=False)
        )
        if domains:
            builder = builder.add_extension(_constraints(domains), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        return cls(certificate=certificate, key=key)

    def private_pem(self) -> bytes:
        """The key in PEM, without a passphrase. Secret."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, request_pem: str, names: Sequence[str], days: int, now: datetime | None = None) -> str:
        """A certificate (PEM) for the key of the request and for `names`, whatever names the request has.

        Valid `days`, though no longer than the authority is. Raises CertificateError.
        """
        now = now or datetime.now(UTC)
        alternative_names = x509.SubjectAlternativeName(general_names(names))
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
        except ValueError as error:
            raise CertificateError(f"the host's request is not one: {error}") from error
        if not request.is_signature_valid:
            raise CertificateError("the host's request is not signed by its own key")
        ends = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        if ends <= now:
            raise CertificateError(f"the authority expired on {ends:%Y-%m-%d}: a new one is needed")
        subject = subject_for(names)
        authority_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(ends)
            .add_extension(alternative_names, critical=not subject.rdns)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def subject_for(names: Sequence[str]) -> x509.Name:
    """The subject of a certificate for `names`: the first host name that fits; empty when none does.

    At most 64 characters (RFC 5280, ub-common-name). No address: verifiers take a common name for a host name, which
    an authority that is bound to networks may not vouch for.
    """
    fitting = [
        name
        for name, general in zip(names, general_names(names), strict=True)
        if len(name) <= 64 and isinstance(general, x509.DNSName)
    ]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in fitting[:1]])


def renewal_reason(
    certificate: x509.Certificate | None,
    authority: x509.Certificate | None,
    *,
    names: Iterable[str],
    key_matches: bool,
    renew_before: timedelta,
    now: datetime | None = None,
) -> str | None:
    """Why the host needs another certificate, or None when the one it has is good."""
    now = now or datetime.now(UTC)
    wanted = sorted({str(name.value) for name in general_names(names)})
    if certificate is None:
        return "there is none"
    if authority is None or not issued_by(certificate, authority):
        return "it is not from this authority"
    if not key_matches:
        return "the key beside it is another's"
    if names_of(certificate) != wanted:
        return f"it is for {', '.join(names_of(certificate))}"
    # One cut short by the end of the authority cannot be had any longer.
    if certificate.not_valid_after_utc - now < renew_before and (
        certificate.not_valid_after_utc < authority.not_valid_after_utc
    ):
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(domains: Sequence[str]) -> x509.NameConstraints:
    """Permit the given names and networks alone; where no network is given, no address at all."""
    permitted: list[x509.GeneralName] = []
    for domain in domains:
        try:
            permitted.append(x509.IPAddress(ipaddress.ip_network(domain)))
        except ValueError:
            permitted += general_names([domain])
    kinds = {type(name) for name in permitted}
    excluded: list[x509.GeneralName] = []
    if x509.IPAddress not in kinds:
        excluded = [x509.IPAddress(ipaddress.ip_network(network)) for network in NONE_ALLOWED]
    if x509.DNSName not in kinds:
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=excluded or None)


def ignore_keys(directory: Path) -> None:
    """Keep git off the keys. An inventory is often a repository, and a bare key must not slip into it; `git add -f`
    takes one that is in a vault."""
    write_whole(directory / ".gitignore", b"ca.key\nnext.key\nprevious.key\n.lock\n", 0o644)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time: Ansible's forks reach a new inventory together."""
    with (directory / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Put `content` at `path` whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)

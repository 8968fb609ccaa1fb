# SPDX-License-Identifier: GPL-3.0-or-later
"""What `relay-agent certificate` goes by: /etc/postroad/certificate.toml, written by the role relay_tls."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from relay_agent.config.schema.values import Section

from .problem import CertificateError

__all__ = ["DEFAULT_SETTINGS", "Acme", "CertificateSettings", "NameServer", "read_settings"]

DEFAULT_SETTINGS = Path("/etc/postroad/certificate.toml")


class Acme(Section):
    """An authority that issues by ACME (RFC 8555)."""

    directory_url: str = Field(pattern=r"^https://[!-~]+$")
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    challenge: Literal["http", "dns"] = "http"
    webroot: Path | None = None  # where the web server that has port 80 takes challenges from
    ca_file: Path | None = None  # trusted for the authority's own HTTPS instead of the system's


class NameServer(Section):
    """A server that takes dynamic updates (RFC 2136) signed with a key (TSIG, RFC 8945)."""

    server: str = Field(min_length=1)
    port: int = Field(default=53, ge=1, le=65535)
    key_name: str = Field(min_length=1)
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    key_secret: str = Field(min_length=1, repr=False)
    ttl: int = Field(default=3600, ge=1, le=86400)  # seconds, of what is published


class CertificateSettings(Section):
    """names: what the certificate is for, the relay's own name first. directory: of the pair in use.

    renew_before: days. tlsa: whether records name the relay's key, so that a new one must wait for its own.
    """

    names: tuple[str, ...] = Field(min_length=1)
    directory: Path = Path("/etc/postroad/tls")
    renew_before: int = Field(default=30, ge=1)
    tlsa: bool = False
    acme: Acme
    dns: NameServer | None = None

    @model_validator(mode="after")
    def _check(self) -> CertificateSettings:
        if self.acme.challenge == "dns" and self.dns is None:
            raise ValueError("acme.challenge dns needs the section dns")
        return self


def read_settings(path: Path) -> CertificateSettings:
    """Raises CertificateError with a sentence that says what is wrong with the file, and never shows the key."""
    try:
        return CertificateSettings.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise CertificateError(
            f"{path} does not exist: this host's certificate is not renewed here, but by the playbook"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise CertificateError(f"{path}: {where}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} cannot be read: {error}") from None

# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may sign in, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from relay_agent.config.schema.values import Duration, Section

__all__ = ["Accounts", "OAuth"]


class Accounts(Section):
    """Who may sign in."""

    file: Path = Field(
        default=Path("/etc/postroad/accounts.toml"), description="TOML file kept by `relay-agent account`."
    )


class OAuth(Section):
    """Sign-in with an access token (OAUTHBEARER, RFC 7628, and XOAUTH2) of the company's identity provider.

    A token only replaces the password: the account that it names has to be in the file of accounts.
    """

    issuer: str = Field(min_length=1, description="The provider, exactly as in the claim `iss`.")
    audience: tuple[str, ...] = Field(
        min_length=1, description="Names of this relay in the claim `aud`; a token needs one of them."
    )
    jwks_url: str | None = Field(
        default=None, pattern=r"^https://[!-~]+$", description="Where the provider publishes its keys (`jwks_uri`)."
    )
    jwks_file: Path | None = Field(default=None, description="Or a file with them (JWK Set, RFC 7517).")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority of `jwks_url` instead of the system's."
    )
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(default=("RS256", "ES256"), min_length=1, description="Algorithms that a token may be signed with.")
    account_claim: str = Field(
        default="email", min_length=1, description="Claim that holds the account's name; an `email` must be verified."
    )
    leeway: Duration = Field(default=60.0, ge=0, description="How far the provider's clock may be off.")
    refresh: Duration = Field(default=3600.0, ge=60, description="How long keys are used before they are read again.")

    @model_validator(mode="after")
    def _check(self) -> OAuth:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("expected either jwks_url or jwks_file")
        return self

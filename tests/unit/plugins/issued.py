# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, requests and certificates as hosts and the authority make them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.certificate import parse_chain
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa
from cryptography import x509

__all__ = ["NAMES", "issue", "openssl", "request_in"]

NAMES = ["relay.example.org", "192.0.2.7", "2001:db8::7"]


def openssl(*args: str, directory: Path) -> str:
    """Run openssl in `directory`; its failure fails the test."""
    done = subprocess.run(["openssl", *args], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def request_in(directory: Path) -> str:
    """A key and a request made as a host makes them."""
    directory.mkdir(exist_ok=True)
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key", directory=directory)
    return openssl("req", "-new", "-key", "key", "-subj", "/CN=relay", directory=directory)


def issue(authority: PrivateCa, host: Path, names: list[str], days: int = 365) -> x509.Certificate:
    pem = authority.sign(request_in(host), names, days)
    (host / "chain").write_text(pem)
    return parse_chain(pem, "test")[0]

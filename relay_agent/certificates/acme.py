# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate from an ACME authority (RFC 8555), had by Debian's lego with a request of ours.

lego sees the request and never the relay's key.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from .chain import request
from .problem import CertificateError
from .settings import CertificateSettings

__all__ = ["STATE", "issue", "lego_command", "lego_environment"]

STATE = Path("/var/lib/postroad-certificate")
_WITHIN = 600.0  # seconds; DNS records may take minutes to be seen
_WAIT_FOR_DNS = "300"  # seconds
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[INFO\] )?")

Run = Callable[[Sequence[str], dict[str, str]], tuple[int, str]]


def lego_command(
    settings: CertificateSettings, state: Path, csr: Path, port_80_is_free: Callable[[], bool] | None = None
) -> list[str]:
    """The command line; no secret is in it.

    With a web server on port 80 the challenge is laid out for it, and answered by lego itself as long as the port is
    free: before the agent has its first certificate, it does not carry anybody to that web server.
    """
    acme = settings.acme
    command = ["lego", "--path", str(state), "--server", acme.directory_url, "--email", acme.email, "--accept-tos"]
    command += ["--csr", str(csr)]
    if acme.challenge == "dns":
        return [*command, "--dns", "rfc2136", "run"]
    if acme.webroot is None or (port_80_is_free or _port_80_is_free)():
        return [*command, "--http", "--http.port", ":80", "run"]
    return [*command, "--http", "--http.webroot", str(acme.webroot), "run"]


def _port_80_is_free() -> bool:
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("", 80))
        except OSError:
            return False
        return True


def lego_environment(settings: CertificateSettings) -> dict[str, str]:
    """What lego is told in variables, among it the TSIG key."""
    told: dict[str, str] = {}
    if settings.acme.ca_file is not None:
        told["LEGO_CA_CERTIFICATES"] = str(settings.acme.ca_file)
    if settings.acme.challenge == "dns" and settings.dns is not None:
        server = settings.dns
        host = f"[{server.server}]" if ":" in server.server else server.server
        told |= {
            "RFC2136_NAMESERVER": f"{host}:{server.port}",
            "RFC2136_TSIG_ALGORITHM": f"{server.key_algorithm}.",
            "RFC2136_TSIG_KEY": server.key_name.rstrip(".") + ".",
            "RFC2136_TSIG_SECRET": server.key_secret,
            # No resolver may still have the last challenge when the next one is looked up.
            "RFC2136_TTL": "1",
            "RFC2136_PROPAGATION_TIMEOUT": _WAIT_FOR_DNS,
        }
    return told


def issue(settings: CertificateSettings, key: str, state: Path = STATE, run: Run | None = None) -> str:
    """A chain in PEM for this key and the settings' names, fresh from the authority. Raises CertificateError."""
    run = run or _run
    issued = state / "certificates"
    csr = state / "request.pem"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    csr.write_text(request(key, settings.names), "ascii")
    if settings.acme.webroot is not None:
        settings.acme.webroot.mkdir(mode=0o755, parents=True, exist_ok=True)
    environment = {**os.environ, **lego_environment(settings)}
    command = lego_command(settings, state, csr)
    shutil.rmtree(issued, ignore_errors=True)
    status, said = run(command, environment)
    if status != 0 and "accountDoesNotExist" in said:
        # The authority has forgotten us, as test authorities do: another account is as good.
        shutil.rmtree(state / "accounts", ignore_errors=True)
        status, said = run(command, environment)
    if status != 0:
        raise CertificateError(f"no certificate from {settings.acme.directory_url}: {_told(said)}")
    chains = [path for path in issued.glob("*.crt") if not path.name.endswith(".issuer.crt")]
    if len(chains) != 1:
        raise CertificateError(f"lego says that it has a certificate, and {issued} holds {len(chains)}")
    return chains[0].read_text("ascii")


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_WITHIN,
            check=False,
            # The web server, which is another user, reads the challenge; nobody else gets into the state's directory.
            umask=0o022,
        )
    except FileNotFoundError:
        raise CertificateError("lego is not on this host: install the package lego") from None
    except subprocess.TimeoutExpired:
        raise CertificateError(f"lego had no certificate within {_WITHIN:.0f} seconds") from None
    return done.returncode, done.stdout


def _told(said: str) -> str:
    """The end of what lego said, where the reason is, in a line."""
    lines = [_STAMP.sub("", line).strip() for line in said.splitlines() if "[INFO]" not in line]
    last = next((number for number, line in enumerate(lines) if line.startswith("Could not")), 0)
    lines = lines[last:]
    return " ".join(line for line in lines if line)[-1000:] or "lego gives no reason"

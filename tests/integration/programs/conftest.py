# SPDX-License-Identifier: GPL-3.0-or-later
"""One relay for all mail programs: the real agent with a certificate of a private authority, and a next hop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay_agent.accounts.hashing import hash_password
from relay_agent.accounts.scram import make_scram
from relay_agent.accounts.store import Account, render
from tests.integration.agent.conftest import Agent, Sink
from tests.integration.certificates import Certificate
from tests.ports import free_port

from .letter import Way
from .next_hop import NextHop
from .table import PROGRAMS, Program

PASSWORD = "s3cret \"p%40$s: w#'rd"
LISTENERS = """
[[listener]]
address = "127.0.0.1"
port = {starttls}
tls = "starttls"
[[listener]]
address = "127.0.0.1"
port = {implicit}
tls = "implicit"
[[listener]]
address = "127.0.0.1"
port = AUTO
tls = "auto"
[submission]
auto_wait = "0.5s"  # a program on a busy machine is slow to begin with TLS
"""
# Which password is right by which mechanism: a sign-in on an account shows which of them was used.
BOTH, ONLY_SCRAM, ONLY_PASSWORD = "alice@alpha.test", "scram@alpha.test", "password@alpha.test"
WORKS = {BOTH: (True, True), ONLY_SCRAM: (False, True), ONLY_PASSWORD: (True, False)}


@dataclass
class Relay:
    """The agent under test and how its three ports are reached."""

    agent: Agent
    next_hop: NextHop
    authority: Path
    stranger: Path  # an authority that has signed nothing here
    ports: dict[str, int] = field(default_factory=dict)

    def way(
        self,
        listener: str,
        tls: str,
        *,
        account: str = BOTH,
        password: str = PASSWORD,
        mechanism: str = "",
        authority: Path | None = None,
        verbose: bool = True,
    ) -> Way:
        """A way to one of the ports, trusting the relay's own authority unless told otherwise."""
        trusted = str(authority or self.authority)
        return Way("localhost", self.ports[listener], tls, trusted, account, password, mechanism, verbose)


def issue(directory: Path, name: str) -> tuple[Certificate, Path]:
    """A certificate by an authority like the one that the playbooks make; with it, the authority's own."""
    directory.mkdir(exist_ok=True)
    authority = PrivateCa.open_or_create(directory / "authority")
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    files = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    signed = authority.sign(request.public_bytes(serialization.Encoding.PEM).decode(), [name], days=1)
    files.certificate.write_text(signed)
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    files.key.chmod(0o600)
    return files, directory / "authority/ca.pem"


def guessed(program: Program) -> str:
    """The account on which the program is given a wrong password: others shall not wait for that."""
    return f"{program.name.replace(' ', '-')}@alpha.test"


def accounts() -> str:
    """The file of accounts; each program has one against which wrong passwords are tried."""
    right, other = hash_password(PASSWORD), hash_password("another")
    scram, other_scram = make_scram(PASSWORD), make_scram("another")
    works = {**WORKS, **{guessed(program): (True, True) for program in PROGRAMS}}
    return render(
        {
            name: Account(
                name=name,
                hash=right if by_password else other,
                scram=scram if by_scram else other_scram,
                addresses=("@alpha.test",),
            )
            for name, (by_password, by_scram) in works.items()
        }
    )


@pytest.fixture(scope="package")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    directory = tmp_path_factory.mktemp("relay")
    next_hop = NextHop(free_port())
    certificate, authority = issue(directory, "localhost")
    _, stranger = issue(directory / "elsewhere", "localhost")
    agent = Agent(directory, certificate, Sink(directory, next_hop.port))
    auto = free_port()
    agent.configure(listeners=LISTENERS.replace("AUTO", str(auto)))
    (directory / "accounts.toml").write_text(accounts())
    next_hop.start()
    try:
        agent.start()
        yield Relay(
            agent, next_hop, authority, stranger, {"starttls": agent.starttls, "implicit": agent.implicit, "auto": auto}
        )
    finally:
        if not agent.ended():
            agent.kill_all()
        next_hop.stop()

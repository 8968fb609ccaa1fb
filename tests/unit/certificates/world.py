# SPDX-License-Identifier: GPL-3.0-or-later
"""What is around a relay that renews its certificate: agent, authority, name servers and clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from relay_agent.certificates.chain import key_digest, read_leaf
from relay_agent.certificates.handshake import Port
from relay_agent.certificates.name_servers import Seen
from relay_agent.certificates.pairs import Pairs
from relay_agent.certificates.problem import CertificateError
from relay_agent.certificates.renewal import Outcome, Renewal, Tools
from relay_agent.certificates.settings import CertificateSettings, NameServer
from relay_agent.config.schema import Listener
from relay_agent.observability.log import EventLog
from tests.unit.certificates.authority import NOW, chain_for

__all__ = ["DAY", "NAME", "URL", "World"]

NAME = "relay.example.org"
DAY = 86400.0
URL = "https://acme.example/dir"


class World(EventLog):
    """Agent, authority, name servers and clock around a relay."""

    def __init__(self, directory: Path) -> None:
        self.pairs = Pairs(directory)
        self.directory = directory
        self.now = NOW.timestamp()
        self.days = 90.0
        self.wanted: tuple[str, ...] = (NAME,)
        self.names: tuple[str, ...] = (NAME,)
        self.authority_says = ""
        self.asked: list[float] = []  # when the authority issued
        self.runs = True
        self.is_drained = False
        self.reload_says = ""
        self.port_says = ""
        self.reloads = 0
        self.records: set[str] = set()
        self.server_says = ""
        self.events: list[str] = []
        self.tlsa = False
        self.dns: NameServer | None = None
        self.url = URL

    # ---- the log and the agent

    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        self.events.append(name)

    def running(self) -> bool:
        return self.runs

    def drained(self) -> bool:
        return self.is_drained

    def reload(self) -> None:
        self.reloads += 1
        if self.reload_says:
            raise CertificateError(self.reload_says)

    # ---- what is beyond the host

    def issue(self, settings: CertificateSettings, key: str) -> str:
        if self.authority_says:
            raise CertificateError(self.authority_says)
        self.asked.append(self.now)
        return chain_for(key, *self.names, begins=NOW + timedelta(seconds=self.now - NOW.timestamp()), days=self.days)

    def publish(self, server: NameServer, owners: Sequence[str], keys: Sequence[str]) -> None:
        if self.server_says:
            raise CertificateError(self.server_says)
        self.records = set(keys)

    def look(self, owners: Sequence[str], keys: Sequence[str]) -> Seen:
        missing = set(keys) - self.records
        return Seen(0, f"no record of {missing}") if missing else Seen(3600)

    def prove(self, ports: Sequence[Port], fingerprint: str, within: float) -> str:
        if self.is_drained:
            return "port 465 has no handshake: Connection refused"
        shown = read_leaf(self.pairs.chain()).fingerprint
        return self.port_says or ("" if shown == fingerprint else "shows another one")

    # ---- a look

    def run(self, *, at_once: bool = False) -> Outcome:
        acme = {"directory_url": self.url, "email": "me@example.org"}
        settings = CertificateSettings.model_validate(
            {"names": self.wanted, "directory": self.directory, "tlsa": self.tlsa, "acme": acme}
        ).model_copy(update={"dns": self.dns})
        tools = Tools(self.issue, self.publish, self.look, self.prove, lambda: self.now)
        return Renewal(settings, [Listener(port=465, tls="implicit")], self, self, tools).run(at_once=at_once)

    @property
    def key(self) -> str:
        return key_digest(self.pairs.key())

    @property
    def next_key(self) -> str:
        return key_digest(self.pairs.next_key())

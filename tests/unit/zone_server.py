# SPDX-License-Identifier: GPL-3.0-or-later
"""A name server of one zone in this process: answers over TCP, and takes signed updates with prerequisites."""

from __future__ import annotations

import socket
import threading
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring

__all__ = ["KEY", "KEY_NAME", "ZoneServer"]

KEY_NAME, KEY = "relays", "c2VjcmV0IG9mIGEgdGVzdA=="


class ZoneServer:
    """records: of each name and type the values, with their TTL. rcode: what is said instead of doing anything."""

    def __init__(self, zone: str = "example.org.") -> None:
        self.zone = dns.name.from_text(zone)
        self.records: dict[tuple[str, str], dict[str, int]] = {}
        self.rcode: int | None = None
        self.updates: list[Any] = []
        self.silent = False
        self.keys = {KEY_NAME: KEY}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def put(self, owner: str, kind: str, *values: str, ttl: int = 60) -> None:
        """These are the values, whatever there was."""
        self.records[owner, kind] = dict.fromkeys(values, ttl)

    def at(self, owner: str, kind: str) -> set[str]:
        """The values."""
        return set(self.records.get((owner, kind), ()))

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                size = int.from_bytes(connection.recv(2), "big")
                if size == 0:
                    continue  # somebody who only looks whether anybody is here
                wire = b""
                while len(wire) < size:
                    wire += connection.recv(size - len(wire))
                if self.silent:
                    continue
                answer = self._answer(wire).to_wire()
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, wire: bytes) -> Any:
        try:
            message = dns.message.from_wire(wire, keyring=dns.tsigkeyring.from_text(self.keys))
        except (dns.message.UnknownTSIGKey, dns.tsig.BadSignature):
            # As a server does that cannot sign its answer either.
            message = dns.message.from_wire(wire, keyring=False)
            answer = dns.message.make_response(message)
            answer.set_rcode(dns.rcode.NOTAUTH)
            return answer
        answer = dns.message.make_response(message)
        if self.rcode is not None:
            answer.set_rcode(dns.rcode.Rcode(self.rcode))
        elif message.opcode() == dns.opcode.UPDATE:
            self.updates.append(message)
            assert message.had_tsig
            answer.set_rcode(self._update(message))
        else:
            (question,) = message.question
            answer.flags |= dns.flags.AA
            owner, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
            if not question.name.is_subdomain(self.zone):
                answer.set_rcode(dns.rcode.REFUSED)
            else:
                for found in dict.fromkeys([kind, "CNAME"]):
                    if values := self._values(owner, found):
                        answer.answer.append(dns.rrset.from_text(owner, max(values.values()), "IN", found, *values))
                        break
        return answer

    def _values(self, owner: str, kind: str) -> dict[str, int]:
        """Those at the name or, when nothing is there, of the nearest wildcard above it (RFC 4592)."""
        while not any(values for (name, _), values in self.records.items() if name == owner):
            parent = owner.removeprefix("*.").partition(".")[2]
            if not dns.name.from_text(parent).is_subdomain(self.zone):
                return {}
            owner = f"*.{parent}"
        return self.records.get((owner, kind), {})

    def _stands_apart(self, owner: str, kind: str) -> bool:
        """Whether an addition is ignored: an alias beside other data, or the other way round (RFC 2136 3.4.2.2)."""
        there = {other for (name, other), values in self.records.items() if name == owner and values}
        return bool(there - {"CNAME"}) if kind == "CNAME" else "CNAME" in there

    def _update(self, message: Any) -> dns.rcode.Rcode:
        expected: dict[tuple[str, str], set[str]] = {}
        for rrset in message.prerequisite:
            place = (rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype))
            if rrset.rdclass == dns.rdataclass.NONE or rrset.deleting == dns.rdataclass.NONE:
                if self.at(*place):
                    return dns.rcode.YXRRSET
            else:
                expected.setdefault(place, set()).update(rdata.to_text() for rdata in rrset)
        if any(self.at(*place) != values for place, values in expected.items()):
            return dns.rcode.NXRRSET
        for rrset in message.update:
            place = (rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype))
            if not rrset.name.is_subdomain(self.zone):
                return dns.rcode.NOTZONE
            there = self.records.setdefault(place, {})
            for rdata in rrset:
                if rrset.deleting == dns.rdataclass.NONE:
                    there.pop(rdata.to_text(), None)
                elif not self._stands_apart(*place):
                    there[rdata.to_text()] = rrset.ttl
        return dns.rcode.NOERROR

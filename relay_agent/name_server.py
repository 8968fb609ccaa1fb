# SPDX-License-Identifier: GPL-3.0-or-later
"""One name server: what it has, asked of itself, and signed updates of it (RFC 2136 with TSIG, RFC 8945)."""

from __future__ import annotations

import binascii
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update

__all__ = ["Answer", "Change", "NameServer", "NameServerError", "TsigKey", "canonical"]

_OTHERS = ("A", "AAAA", "MX", "TXT")  # what is mostly found where an alias is wanted
_WITHIN = 10.0  # seconds that a server has for an answer
_PREREQUISITE = {dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN}
_QUESTION_REFUSED = {
    dns.rcode.REFUSED: "it refuses to answer (REFUSED): it does not serve the zone, or not to this host",
    dns.rcode.SERVFAIL: "it failed (SERVFAIL): its log says why, often a zone that is not loaded or has expired",
    dns.rcode.NOTAUTH: "it has no authority for the zone (NOTAUTH)",
}
_UPDATE_REFUSED = {
    dns.rcode.REFUSED: "it refuses the update (REFUSED): the key may not change this name or this kind of record",
    dns.rcode.NOTAUTH: (
        "it has no authority for the zone (NOTAUTH): it is not the zone's primary, does not know the zone (by this "
        "name; see relay_dns_zones), or not the key"
    ),
    dns.rcode.NOTZONE: "it says that the name is outside the zone (NOTZONE)",
    dns.rcode.SERVFAIL: "it failed (SERVFAIL): its log says why",
    dns.rcode.NOTIMP: "it takes no updates at all (NOTIMP)",
}
_TSIG = (
    (
        dns.tsig.PeerBadKey,
        "it does not know the key, has it with another algorithm, or (knot) does not let it do this (BADKEY)",
    ),
    (dns.tsig.PeerBadSignature, "it has another secret for the key (BADSIG)"),
    (dns.tsig.PeerBadTime, "its clock and the one here are minutes apart (BADTIME)"),
    (dns.tsig.BadSignature, "its answer is not signed with the key: it is a resolver, or has another secret"),
    (dns.tsig.BadTime, "its clock and the one here are minutes apart"),
)


class NameServerError(Exception):
    """A server could not be asked, or does not do what it was told; the text names it and says why.

    silent: nothing came back at all, and asking again would take as long.
    """

    silent = False


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A key that updates are signed with. secret: in base64."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type. values: in the form of a zone file, as `canonical` has it.

    served: the same as the server has them, where a long text may be cut elsewhere: by these it knows them again.
    beside: type and value of what is at the name and leaves no room for the type that was asked for, since an alias
    (CNAME) stands alone at its name (RFC 1034 3.6.2).
    """

    ttl: int = 0
    values: frozenset[str] = frozenset()
    served: frozenset[str] = field(default=frozenset(), compare=False)
    beside: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """Records to add and to remove at one name.

    expected: what the server answered, which has to be still so, or nothing at all is done; None for no condition.
    """

    owner: str
    kind: str
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    ttl: int = 0
    expected: Answer | None = None


class NameServer:
    """host: a name or an address. within: seconds for each answer. All methods raise NameServerError."""

    def __init__(self, host: str, port: int = 53, key: TsigKey | None = None, *, within: float = _WITHIN) -> None:
        self.host = host.rstrip(".")
        self._port = port
        self._key = key
        self._within = within

    def ask(self, owner: str, kind: str, *, recursive: bool = False) -> Answer:
        """What the server has. recursive: it is a resolver; else it has to have authority for the name."""
        try:
            query = dns.message.make_query(owner, kind)
            if not recursive:
                query.flags &= ~dns.flags.RD
            # By TCP: nobody can slip in an answer, and none is too long.
            answer = dns.query.tcp(query, self._address(), timeout=self._within, port=self._port)
        except (dns.exception.DNSException, EOFError, OSError, ValueError) as error:
            raise self._failed(f"asked for {kind} of {owner}", error) from None
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            said = _QUESTION_REFUSED.get(answer.rcode(), f"it says {dns.rcode.to_text(answer.rcode())}")
            raise NameServerError(f"{self.host}, asked for {kind} of {owner}: {said}")
        if not recursive and not answer.flags & dns.flags.AA:
            raise NameServerError(f"{self.host}, asked for {kind} of {owner}: it does not serve this zone")
        found = dns.rdatatype.from_text(kind)
        served: set[str] = set()
        alias: set[tuple[str, str]] = set()
        ttl = 0
        for rrset in answer.answer:
            # Not what an alias at this name leads to.
            if rrset.name != query.question[0].name:
                continue
            if rrset.rdtype == found:
                served |= {rdata.to_text() for rdata in rrset}
                ttl = max(ttl, rrset.ttl)
            elif rrset.rdtype == dns.rdatatype.CNAME:
                alias |= {("CNAME", canonical("CNAME", rdata.to_text())) for rdata in rrset}
        values = frozenset(canonical(kind, value) for value in served)
        return Answer(ttl, values, frozenset(served), frozenset(alias))

    def survey(
        self,
        owner: str,
        kind: str,
        wanted: frozenset[str] = frozenset(),
        *,
        recursive: bool = False,
        zone: str = "",
    ) -> Answer:
        """What is at the name itself, and what there leaves no room for records of this type.

        What a wildcard stands for (RFC 4592) is not at the name: it vanishes when anything is put there, and is no
        condition of an update. wanted: when just these are there, nothing further is asked. zone: where the server
        takes updates of it; then it is asked itself whether something is at the name, by a condition without a change,
        and else that is told by the wildcard's having the same.
        """
        found = self.ask(owner, kind, recursive=recursive)
        if kind == "CNAME" and not found.values:
            beside = {
                (other, value) for other in _OTHERS for value in self.ask(owner, other, recursive=recursive).values
            }
            found = replace(found, beside=frozenset(beside))
        if not found.beside and found.values in (wanted, frozenset()):
            return found
        if found.values and self._by_wildcard(owner, kind, found.values, recursive, zone):
            found = replace(found, ttl=0, values=frozenset(), served=frozenset())
        kinds = {other for other, _ in found.beside}
        values = {each: frozenset(value for other, value in found.beside if other == each) for each in kinds}
        stays = {each for each in kinds if not self._by_wildcard(owner, each, values[each], recursive, zone)}
        return replace(found, beside=frozenset(each for each in found.beside if each[0] in stays))

    def _by_wildcard(self, owner: str, kind: str, values: frozenset[str], recursive: bool, zone: str) -> bool:
        """Whether the nearest wildcard above the name has just these, and the name itself has not."""
        parent = owner.rstrip(".").partition(".")[2]
        while parent:
            try:
                above = self.ask(f"*.{parent}.", kind, recursive=recursive).values
            except NameServerError:
                return False  # above what this server serves
            if above:
                return above == values and (not zone or self.update(zone, [Change(owner, kind, expected=Answer())]))
            parent = parent.partition(".")[2]
        return False

    def update(self, zone: str, changes: Iterable[Change]) -> bool:
        """Do all of the changes or none; False when what was expected is not there (any more)."""
        try:
            message = self._message(zone, changes)
            answer = dns.query.tcp(message, self._address(), timeout=self._within, port=self._port)
        except (dns.exception.DNSException, EOFError, OSError, ValueError) as error:
            raise self._failed(f"told to change the zone {zone}", error) from None
        if answer.rcode() in _PREREQUISITE:
            return False
        if answer.rcode() != dns.rcode.NOERROR:
            said = _UPDATE_REFUSED.get(answer.rcode(), f"it says {dns.rcode.to_text(answer.rcode())}")
            raise NameServerError(f"{self.host}, told to change the zone {zone}: {said}")
        return True

    def _message(self, zone: str, changes: Iterable[Change]) -> dns.update.UpdateMessage:
        key = self._key
        message = dns.update.UpdateMessage(
            zone,
            keyring=dns.tsigkeyring.from_text({key.name: key.secret}) if key is not None else None,
            keyalgorithm=dns.name.from_text(key.algorithm) if key is not None else dns.tsig.default_algorithm,
        )
        for change in changes:
            owner = dns.name.from_text(change.owner)
            there = change.expected.served or change.expected.values if change.expected is not None else frozenset()
            if there:
                message.present(owner, change.kind, *sorted(there))
            elif change.expected is not None:
                message.absent(owner, change.kind)
            for value in sorted(change.remove):
                # The server goes by the octets: a text that is cut elsewhere is another record to it.
                same = {each for each in there if canonical(change.kind, each) == value}
                for each in sorted(same or {value}):
                    message.delete(owner, change.kind, each)
            for value in sorted(change.add):
                message.add(owner, change.ttl, change.kind, value)
        return message

    def _address(self) -> str:
        return str(socket.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM)[0][4][0])

    def _failed(self, doing: str, error: Exception) -> NameServerError:
        said = next((text for kind, text in _TSIG if isinstance(error, kind)), "")
        if not said and isinstance(error, binascii.Error):
            said = "the secret of the key is not base64"
        if not said and isinstance(error, dns.exception.Timeout | TimeoutError):
            said = f"it did not answer within {self._within:g} s (a firewall, or nobody is there)"
        if not said and isinstance(error, ConnectionRefusedError):
            said = f"nobody listens at its port {self._port} (TCP)"
        if not said and isinstance(error, dns.exception.FormError) and "TSIG" in str(error):
            said = "its answer is not signed, like that of a server which does not know the key or the zone"
        if not said and isinstance(error, EOFError):
            said = "it hung up without an answer"
        if not said and isinstance(error, socket.gaierror):
            said = "its own name has no address"
        failed = NameServerError(f"{self.host}, {doing}: {said or str(error) or type(error).__name__}")
        failed.silent = isinstance(error, dns.exception.Timeout | OSError)
        return failed


def canonical(kind: str, text: str) -> str:
    """A record's data in the one form by which two are compared: that of dnspython, absolute, lower case but for TXT.

    Raises dns.exception.DNSException or ValueError for what is no such data.
    """
    if not text.isprintable():
        raise ValueError("a line end or another control character in it")
    rdata = dns.rdata.from_text(
        dns.rdataclass.IN, dns.rdatatype.from_text(kind), text, origin=dns.name.root, relativize=False
    )
    if isinstance(rdata, dns.rdtypes.ANY.TXT.TXT):
        # Where a long text is cut into strings has no meaning (RFC 7208 3.3, RFC 6376 3.6.2.2).
        whole = b"".join(rdata.strings)
        pieces = [whole[start : start + 255] for start in range(0, len(whole), 255)] or [b""]
        return dns.rdtypes.ANY.TXT.TXT(rdata.rdclass, rdata.rdtype, pieces).to_text()
    return rdata.to_text().lower()

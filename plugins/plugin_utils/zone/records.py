# SPDX-License-Identifier: GPL-3.0-or-later
"""Every DNS record that a fleet of relays needs, each with the reason why: from its settings, without any I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ansible_collections.postroad.relay.plugins.module_utils.direct_ports import direct_listeners
from ansible_collections.postroad.relay.plugins.module_utils.port_order import Offer, offers
from ansible_collections.postroad.relay.plugins.plugin_utils.incoming_ports import (
    DEFAULT_KIND,
    DEFAULT_SECURITY,
    incoming_port,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import default_spf
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import (
    DnsValueError,
    absolute,
    canonical,
    ip_address,
    reverse_name,
    text_value,
)

__all__ = ["Fleet", "Record", "Relay", "Rule", "common_offers", "fleet_records", "relay_of", "zones_of"]

Rule = Literal["all", "any", "spf", "default", "held"]
_LAST_RESORT = 100
_INCOMING = {
    ("imap", "implicit"): "_imaps",
    ("imap", "starttls"): "_imap",
    ("pop3", "implicit"): "_pop3s",
    ("pop3", "starttls"): "_pop3",
}


@dataclass(frozen=True)
class Relay:
    """One relay. name: of its own. offers: its ports, best first. keys: SHA-256 of its public keys, for TLSA records.

    dkim: name and text of the record of each signing key, whatever the key's state. drained: it takes no mail.
    """

    host: str
    name: str
    addresses: tuple[str, ...]
    offers: tuple[Offer, ...] = ()
    keys: tuple[str, ...] = ()
    dkim: tuple[tuple[str, str], ...] = ()
    drained: bool = False


@dataclass(frozen=True)
class Fleet:
    """What all relays have in common. service: the shared name, or "". failover: whether watchers keep its addresses.

    incoming: kind, host, port and security of each server of incoming mail. certificate_names: what the relays'
    certificates are for beside each relay's own name. The rest is as in the role's variables.
    """

    relays: tuple[Relay, ...]
    domains: tuple[str, ...] = ()
    service: str = ""
    incoming: tuple[Mapping[str, Any], ...] = ()
    ttl: int = 3600
    address_ttl: int = 3600
    failover: bool = False
    tlsa: bool = False
    settings_host: str = ""
    certificate_names: tuple[str, ...] = ()
    spf: Mapping[str, Any] = field(default_factory=dict)
    dmarc: Mapping[str, Any] = field(default_factory=dict)
    mta_sts: tuple[Mapping[str, Any], ...] = ()
    tls_reports: str = ""
    reverse: bool = True


@dataclass(frozen=True)
class Record:
    """Values that belong at one name. owner: absolute. values: in the form of a zone file.

    rule: `all` of the values have to be there; `any`: at least one; `spf`: a policy that has each of `mechanisms`, for
    which `values` is the proposal where there is none; `default`: one that begins as the proposal does, whatever it
    says further; `held`: only those of `members` may be there, and of them only `values`. beginning: only texts that
    begin so are compared, the others at the name are somebody else's.
    """

    owner: str
    kind: str
    values: tuple[str, ...]
    why: str
    ttl: int
    rule: Rule = "all"
    beginning: str = ""
    mechanisms: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


def fleet_records(fleet: Fleet) -> list[Record]:
    """All of them, sorted by what they are for. Raises DnsValueError for what cannot be in the DNS."""
    gathered: dict[tuple[str, str, str], Record] = {}
    for record in _records(fleet):
        place = (record.owner, record.kind, record.beginning)
        there = gathered.get(place)
        gathered[place] = record if there is None else _together(there, record)
    return list(gathered.values())


def _together(one: Record, other: Record) -> Record:
    """Two relays' values at a name that they share."""
    values = tuple(dict.fromkeys([*one.values, *other.values]))
    why = one.why if other.why in one.why else f"{one.why}; {other.why}"
    if one.kind == "TXT" and len(values) > 1:
        raise DnsValueError(f"two relays have different keys under {one.owner}: receivers would use either")
    return replace(one, values=values, why=why, ttl=min(one.ttl, other.ttl))


def _records(fleet: Fleet) -> Iterator[Record]:
    service = absolute(fleet.service) if fleet.service else ""
    yield from _addresses(fleet, service)
    domains = [absolute(domain) for domain in fleet.domains]
    for domain in domains:
        yield from _service_records(fleet, domain, service)
    yield from _sender_records(fleet, domains)
    if fleet.tlsa:
        yield from _tlsa(fleet, service)
    if fleet.reverse:
        yield from _reverse(fleet)


def _addresses(fleet: Fleet, service: str) -> Iterator[Record]:
    for relay in fleet.relays:
        name = absolute(relay.name)
        for kind, values in _by_kind(relay.addresses).items():
            if name != service:
                yield Record(name, kind, values, f"the relay {relay.host} itself", fleet.ttl)
    if not service:
        return
    together = [address for relay in fleet.relays for address in relay.addresses]
    for kind, values in _by_kind(together).items():
        if fleet.failover:
            why = "the name that mail programs use; the relays keep it to those that answer"
            yield Record(service, kind, values, why, fleet.address_ttl, rule="any")
        else:
            yield Record(service, kind, values, "the name that mail programs use", fleet.address_ttl)


def _service_records(fleet: Fleet, domain: str, service: str) -> Iterator[Record]:
    names = list(dict.fromkeys(absolute(relay.name) for relay in fleet.relays))
    by_name = {absolute(relay.name): relay for relay in fleet.relays}
    offered = common_offers(fleet.relays)
    for security, label in (("implicit", "_submissions"), ("starttls", "_submission")):
        chosen = [offer for offer in offered if offer.security == security]
        if not chosen:
            continue
        values = []
        for place, offer in enumerate(chosen):
            targets = [service] if service else [name for name in names if offer in by_name[name].offers]
            values += [f"{place} 1 {offer.port} {target}" for target in targets]
        if service:
            # For a program whose resolver still has an address that is gone: the relays, each by its own name.
            values += [f"{_LAST_RESORT} 1 {chosen[0].port} {name}" for name in names if name != service]
        how = "TLS from the first byte" if security == "implicit" else "STARTTLS"
        why = f"programs find the submission ports with {how} by it, best first (RFC 6186, RFC 8314)"
        yield Record(f"{label}._tcp.{domain}", "SRV", _canonical("SRV", values), why, fleet.ttl)
    for place, incoming in enumerate(fleet.incoming):
        label = _INCOMING[incoming.get("kind") or DEFAULT_KIND, incoming.get("security") or DEFAULT_SECURITY]
        value = f"{place} 1 {incoming_port(incoming)} {absolute(incoming['host'])}"
        why = "programs find the server of incoming mail by it (RFC 6186)"
        yield Record(f"{label}._tcp.{domain}", "SRV", _canonical("SRV", [value]), why, fleet.ttl)
    if fleet.settings_host:
        host = absolute(fleet.settings_host)
        why = "Outlook asks here for the settings"
        yield Record(f"_autodiscover._tcp.{domain}", "SRV", _canonical("SRV", [f"0 1 443 {host}"]), why, fleet.ttl)
        covered = {absolute(name) for name in fleet.certificate_names if not _is_address(name) and "*" not in name}
        for label, who in (("autoconfig", "Thunderbird and others ask"), ("autodiscover", "Outlook asks")):
            # Outlook shows its user a certificate that does not fit; without the name it goes by the SRV record.
            wanted = label == "autoconfig" or f"{label}.{domain}" in covered
            if wanted and f"{label}.{domain}" != host:
                why = f"{who} here for the settings"
                yield Record(f"{label}.{domain}", "CNAME", (canonical("CNAME", host),), why, fleet.ttl)


def _sender_records(fleet: Fleet, domains: Sequence[str]) -> Iterator[Record]:
    # By address, not by the shared name: a relay that is out of its list goes on delivering what it has.
    mechanisms = _mechanisms(fleet.relays)
    mechanisms += tuple(str(each) for each in fleet.spf.get("mechanisms") or ())
    ending = str(fleet.spf.get("all") or "~all")
    if fleet.spf.get("enabled", True):
        for domain in domains:
            why = "says that the relays send for the domain (SPF, RFC 7208)"
            proposal = text_value(default_spf(mechanisms, ending))
            yield Record(domain, "TXT", (proposal,), why, fleet.ttl, "spf", "v=spf1", mechanisms)
        for name in dict.fromkeys(absolute(relay.name) for relay in fleet.relays):
            if name in domains:
                continue
            own = _mechanisms(relay for relay in fleet.relays if absolute(relay.name) == name)
            why = "bounces have no other sender than the relay's name (RFC 7208 2.3)"
            proposal = text_value(default_spf(own, "-all"))
            yield Record(name, "TXT", (proposal,), why, fleet.ttl, "spf", "v=spf1", own)
    for relay in fleet.relays:
        for name, text in relay.dkim:
            why = "the key that signatures are checked with (DKIM, RFC 6376)"
            yield Record(absolute(name), "TXT", (text_value(text),), why, fleet.ttl)
    if fleet.dmarc.get("enabled", True):
        # A domain below another one has that one's policy (RFC 7489 6.6.3), which ours would weaken.
        for domain in (each for each in domains if not any(each.endswith(f".{other}") for other in domains)):
            policy = f"v=DMARC1; p={fleet.dmarc.get('policy') or 'none'}"
            reports = fleet.dmarc.get("reports")
            proposal = text_value(policy + (f"; rua={_uri(reports)}" if reports else ""))
            why = "what receivers do with mail that fails SPF and DKIM (DMARC, RFC 7489); yours is left as it is"
            yield Record(f"_dmarc.{domain}", "TXT", (proposal,), why, fleet.ttl, "default", "v=DMARC1")
    for entry in fleet.mta_sts:
        owner = f"_mta-sts.{absolute(entry['domain'])}"
        why = "senders ask for the domain's policy when it changes (MTA-STS, RFC 8461)"
        yield Record(owner, "TXT", (text_value(f"v=STSv1; id={_policy_id(entry['id'])};"),), why, fleet.ttl)
        if entry.get("host"):
            alias = canonical("CNAME", absolute(entry["host"]))
            why = "the web server of the MTA-STS policy"
            yield Record(f"mta-sts.{absolute(entry['domain'])}", "CNAME", (alias,), why, fleet.ttl)
    if fleet.tls_reports:
        for domain in domains:
            why = "where senders report on TLS with the domain's mail hosts (TLS-RPT, RFC 8460)"
            proposal = text_value(f"v=TLSRPTv1; rua={_uri(fleet.tls_reports)}")
            yield Record(f"_smtp._tls.{domain}", "TXT", (proposal,), why, fleet.ttl, "default", "v=TLSRPTv1")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _mechanisms(relays: Iterable[Relay]) -> tuple[str, ...]:
    addresses = [ip_address(address) for relay in relays for address in relay.addresses]
    return tuple(dict.fromkeys(f"ip{address.version}:{address}" for address in addresses))


def _tlsa(fleet: Fleet, service: str) -> Iterator[Record]:
    for relay in fleet.relays:
        values = _canonical("TLSA", [f"3 1 1 {key}" for key in relay.keys])
        if not values:
            continue
        names = dict.fromkeys([absolute(relay.name), *([service] if service else [])])
        for name in names:
            for port in sorted({offer.port for offer in relay.offers}):
                why = "the keys that the relay's TLS shows, the present and the next one (DANE, RFC 7672)"
                yield Record(f"_{port}._tcp.{name}", "TLSA", values, why, fleet.ttl)


def _reverse(fleet: Fleet) -> Iterator[Record]:
    for relay in fleet.relays:
        for address in relay.addresses:
            why = "receivers refuse mail from addresses whose name does not lead back"
            value = canonical("PTR", absolute(relay.name))
            yield Record(reverse_name(address), "PTR", (value,), why, fleet.ttl)


def zones_of(records: Iterable[Record], zones: Sequence[str], fleet: Fleet) -> dict[str, str]:
    """For the owner of each record its zone; "" for what is in none of them.

    zones: as the operator has named them; else each domain, and the domain above each relay's name.
    """
    known = [absolute(zone) for zone in zones]
    if not known:
        known = [absolute(domain) for domain in fleet.domains]
        for name in [relay.name for relay in fleet.relays] + ([fleet.service] if fleet.service else []):
            owner = absolute(name)
            if not any(_within(owner, zone) for zone in known) and owner.count(".") > 2:
                known.append(owner.partition(".")[2])
    found = {}
    for record in records:
        fitting = [zone for zone in known if _within(record.owner, zone)]
        found[record.owner] = max(fitting, key=len, default="")
    return found


def _within(owner: str, zone: str) -> bool:
    return owner == zone or owner.endswith(f".{zone}")


def common_offers(relays: Iterable[Relay]) -> list[Offer]:
    """What every relay offers, in the first one's order."""
    first, *others = [relay.offers for relay in relays]
    return [offer for offer in first if all(offer in each for each in others)]


def _by_kind(addresses: Iterable[str]) -> dict[str, tuple[str, ...]]:
    kinds: dict[str, list[str]] = {}
    for address in addresses:
        found = ip_address(address)
        kinds.setdefault("A" if found.version == 4 else "AAAA", []).append(str(found))
    return {kind: tuple(dict.fromkeys(values)) for kind, values in sorted(kinds.items())}


def _canonical(kind: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(canonical(kind, value) for value in values)


def _uri(target: str) -> str:
    """Where reports go, as these records have it: `!` and `,` stand for something else there (RFC 7489 6.2)."""
    uri = target if target.startswith(("mailto:", "https:")) else f"mailto:{target}"
    if any(letter.isspace() or letter in ',!;"' or not letter.isprintable() for letter in uri):
        raise DnsValueError(f"{target!r} is no address that reports can go to")
    return uri


def _policy_id(text: object) -> str:
    found = str(text)
    if not (found.isascii() and found.isalnum() and len(found) <= 32):
        raise DnsValueError(f"{found!r} is no id of an MTA-STS policy (expected up to 32 letters and digits)")
    return found


def relay_of(facts: Mapping[str, Any]) -> Relay:
    """A relay from what the module dns_facts returned for it."""
    return Relay(
        host=str(facts["host"]),
        name=str(facts["name"]),
        addresses=tuple(facts["addresses"]),
        offers=tuple(offers(direct_listeners(facts["listeners"]))),
        keys=tuple(facts["keys"]),
        dkim=tuple((each["name"], each["value"]) for each in facts["dkim"]),
        drained=bool(facts.get("drained")),
    )

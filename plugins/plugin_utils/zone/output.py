# SPDX-License-Identifier: GPL-3.0-or-later
"""The records in the forms that others read: a zone file, a script for nsupdate, and JSON for Terraform."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.postroad.relay.plugins.plugin_utils.plain_words import plain
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import plain_text

__all__ = ["nsupdate_script", "terraform", "zone_file", "zone_lines"]

_TERRAFORM = {
    "A": ("dns_a_record_set", "addresses"),
    "AAAA": ("dns_aaaa_record_set", "addresses"),
    "TXT": ("dns_txt_record_set", "txt"),
    "SRV": ("dns_srv_record_set", "srv"),
    "CNAME": ("dns_cname_record", "cname"),
    "PTR": ("dns_ptr_record", "ptr"),
}


def zone_lines(record: Record, values: Iterable[str] | None = None) -> list[str]:
    """The record's lines in a zone file (RFC 1035 5.1). values: others than the record's."""
    chosen = record.values if values is None else sorted(values)
    return [f"{record.owner} {record.ttl} IN {record.kind} {value}" for value in chosen]


def zone_file(zone: str, records: Sequence[Record]) -> str:
    """All of a zone's records, each with what it is for. zone: "" for those that are in no zone of the inventory's."""
    title = (
        f"what the relays need in the zone {zone}" if zone else "what is in zones of others, such as your provider's"
    )
    lines = [f"; {title}"]
    why = ""
    for record in records:
        if record.why != why:
            why = record.why
            lines += ["", f"; {plain(why)}"]
        lines += zone_lines(record)
    return "\n".join(lines) + "\n"


def nsupdate_script(zone: str, records: Sequence[Record], server: str = "", port: int = 53) -> str:
    """Commands for `nsupdate -k KEYFILE` (RFC 2136). They add, and never remove what is there.

    A policy (SPF, DMARC) is added only where there is no TXT record at its name: what is there is to be merged.
    """
    lines = [f"server {server} {port}"] if server else []
    lines.append(f"zone {zone}")
    # A prerequisite is about a whole message, so each policy is one of its own.
    for record in records:
        if record.beginning:
            lines += [f"prereq nxrrset {record.owner} TXT", *_additions(record), "send"]
    plain_ones = [line for record in records if not record.beginning for line in _additions(record)]
    return "\n".join([*lines, *plain_ones, *(["send"] if plain_ones else [])]) + "\n"


def _additions(record: Record) -> list[str]:
    return [f"update add {record.owner} {record.ttl} {record.kind} {value}" for value in record.values]


def terraform(zones: Mapping[str, Sequence[Record]]) -> str:
    """A configuration in JSON syntax for the provider hashicorp/dns.

    A resource of that provider is the whole of a name's records of a type. So policies at names where others may have
    texts are left out, and so are TLSA records, which the provider does not know; what is left out is in `//`.
    """
    resources: dict[str, dict[str, Any]] = {}
    left_out: list[str] = []
    for zone, records in zones.items():
        for record in records:
            if not zone or record.kind not in _TERRAFORM or record.rule == "spf":
                left_out += zone_lines(record)
                continue
            kind, key = _TERRAFORM[record.kind]
            resources.setdefault(kind, {})[_identifier(record)] = _resource(zone, record, key)
    document: dict[str, Any] = {"terraform": {"required_providers": {"dns": {"source": "hashicorp/dns"}}}}
    if left_out:
        document = {"//": {"left out": left_out}} | document
    if resources:
        document["resource"] = resources
    return json.dumps(document, indent=2) + "\n"


def _resource(zone: str, record: Record, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"zone": zone, "ttl": record.ttl}
    if record.owner != zone:
        found["name"] = record.owner.removesuffix(f".{zone}")
    if record.kind == "SRV":
        found[key] = [_srv(value) for value in record.values]
    elif record.kind in ("CNAME", "PTR"):
        found[key] = record.values[0]
    elif record.kind == "TXT":
        found[key] = [_no_template(plain_text(value)) for value in record.values]
    else:
        found[key] = list(record.values)
    if record.rule == "any":
        found["lifecycle"] = {"ignore_changes": [key]}
    return found


def _srv(value: str) -> dict[str, Any]:
    priority, weight, port, target = value.split()
    return {"priority": int(priority), "weight": int(weight), "port": int(port), "target": target}


def _no_template(text: str) -> str:
    """Terraform reads strings in JSON as templates."""
    return text.replace("${", "$${").replace("%{", "%%{")


def _identifier(record: Record) -> str:
    """A name for the resource: letters, digits and underscores, one for each owner."""
    escaped = re.sub(r"[^a-z0-9.]", lambda match: f"_{ord(match[0]):x}_", record.owner.rstrip("."))
    return f"r_{escaped.replace('.', '__')}_{record.kind.lower()}"

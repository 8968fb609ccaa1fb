# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin dns_records: the fleet's records as files, and at a name server that takes updates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.fleet import (
    FLEET_ARGUMENTS,
    by_zone,
    certificate_warnings,
    read_fleet,
)
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.output import nsupdate_script, terraform, zone_file
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import Judged, judge, leftovers
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record, zones_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import SpfError
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError, host_text

from relay_agent.name_server import Answer, Change, NameServer, NameServerError, TsigKey

ARGUMENTS: dict[str, Any] = FLEET_ARGUMENTS | {
    "directory": {"type": "path", "required": True},
    "server": {
        "type": "dict",
        "options": {
            "server": {"type": "str", "required": True},
            "port": {"type": "int", "default": 53},
            "key_name": {"type": "str", "required": True, "no_log": False},
            "key_algorithm": {"type": "str", "default": "hmac-sha256", "no_log": False},
            "key_secret": {"type": "str", "required": True, "no_log": True},
        },
    },
}
PUBLISHED = "published.json"
_MOST_IN_A_MESSAGE = 40


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """See plugins/modules/dns_records.py."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        self._directory = Path(options["directory"])
        try:
            fleet, records = read_fleet(options, (task_vars or {})["hostvars"])
            zones = by_zone(records, options["zones"], fleet)
            server = options["server"]
            diffs = self._write(self._files(zones, server))
            told = list(certificate_warnings(fleet))
            if server:
                published = self._published()
                extra = leftovers(records, published)
                owners = zones_of(extra, options["zones"], fleet)
                for record in extra:
                    zones.setdefault(owners[record.owner], []).append(record)
                changes, more = self._update(zones, server, published)
                diffs += changes
                told += more
        except (DnsValueError, SpfError, NameServerError, OSError) as error:
            return result | {"failed": True, "msg": str(error)}
        return result | {
            "changed": bool(diffs),
            "diff": diffs,
            "warnings": told,
            "directory": str(self._directory),
            "records": sum(len(each.values) for each in records),
        }

    def _files(
        self, zones: Mapping[str, Sequence[Record]], server: Mapping[str, Any] | None
    ) -> Iterator[tuple[str, str]]:
        for zone, records in zones.items():
            yield f"{zone}zone" if zone else "elsewhere.zone", zone_file(zone, records)
            if zone:
                where = (host_text(server["server"]), int(server["port"])) if server else ("", 53)
                yield f"{zone}nsupdate", nsupdate_script(zone, records, *where)
        yield "relays.tf.json", terraform(zones)

    def _write(self, files: Iterator[tuple[str, str]]) -> list[dict[str, str]]:
        diffs = []
        for name, content in files:
            path = self._directory / name
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            if before == content:
                continue
            diffs.append(_diff(str(path), before, content))
            if not self._task.check_mode:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        return diffs

    def _published(self) -> dict[tuple[str, str], frozenset[str]]:
        """What earlier runs have put in. Raises DnsValueError for a file that cannot be read as that."""
        path = self._directory / PUBLISHED
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            return {(owner, kind): frozenset(values) for owner, kind, values in entries}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):
            raise DnsValueError(
                f"{path} is damaged: it says which records are from here, so that no other is ever removed. Without it "
                "nothing is removed; delete it to go on so."
            ) from None

    def _update(
        self,
        zones: Mapping[str, Sequence[Record]],
        access: Mapping[str, Any],
        published: Mapping[tuple[str, str], frozenset[str]],
    ) -> tuple[list[dict[str, str]], list[str]]:
        """The differences that were, or in check mode would be, made, and what is for the operator to know."""
        key = TsigKey(access["key_name"], access["key_secret"], access["key_algorithm"])
        server = NameServer(access["server"], access["port"], key)
        ours = dict(published)
        diffs: list[dict[str, str]] = []
        told: list[str] = []
        for zone, records in zones.items():
            if not zone:
                continue
            judged = []
            for record in records:
                answer = server.ask(record.owner, record.kind)
                mine = published.get((record.owner, record.kind), frozenset())
                judged.append((judge(record, answer.values, mine, ttl=answer.ttl), answer))
            told += [_sentence(each) for each, _ in judged if _sentence(each)]
            todo = [(each, found) for each, found in judged if each.add or each.remove]
            if todo:
                before = "".join(
                    _line(each.record, value, found.ttl) for each, found in todo for value in sorted(each.remove)
                )
                after = "".join(
                    _line(each.record, value, _ttl(each, found)) for each, found in todo for value in sorted(each.add)
                )
                diffs.append(_diff(f"zone {zone} at {access['server']}", before, after))
                if not self._task.check_mode:
                    self._send(server, zone, todo)
            for each, found in judged:
                _remember(ours, each, found.values)
        if not self._task.check_mode:
            entries = [[owner, kind, sorted(values)] for (owner, kind), values in sorted(ours.items()) if values]
            self._directory.mkdir(parents=True, exist_ok=True)
            text = "".join(f"  {json.dumps(entry)},\n" for entry in entries).rstrip(",\n")
            content = f"[\n{text}\n]\n" if entries else "[]\n"
            path = self._directory / PUBLISHED
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                path.write_text(content, encoding="utf-8")
        return diffs, told

    @staticmethod
    def _send(server: NameServer, zone: str, todo: Sequence[tuple[Judged, Answer]]) -> None:
        for start in range(0, len(todo), _MOST_IN_A_MESSAGE):
            changes = [
                Change(each.record.owner, each.record.kind, each.add, each.remove, _ttl(each, found), found.values)
                for each, found in todo[start : start + _MOST_IN_A_MESSAGE]
            ]
            if not server.update(zone, changes):
                raise NameServerError(
                    f"{server.host}: somebody changed the zone {zone} at the same moment; nothing of this step was "
                    "done. Run it again."
                )


def _remember(ours: dict[tuple[str, str], frozenset[str]], judged: Judged, found: frozenset[str]) -> None:
    """After a record was brought to what is wanted: what of it is from here."""
    record = judged.record
    if record.rule == "spf":
        return
    place = (record.owner, record.kind)
    there = (found - judged.remove) | judged.add
    known = ours.get(place, frozenset())
    # What was there before us and is wanted, too, is ours from now on: nobody else has a use for it.
    kept = there & (frozenset(record.values) | known)
    ours[place] = kept


def _ttl(judged: Judged, found: Answer) -> int:
    """Seconds. A policy that is merged into another's text keeps the time that its neighbours at the name have."""
    return found.ttl if judged.record.beginning and found.values else judged.record.ttl


def _sentence(judged: Judged) -> str:
    record = judged.record
    if judged.unwanted:
        hint = "; they are not from here: remove them by hand if they are yours"
        return f"{record.owner} {record.kind} {judged.says}{hint}"
    if judged.state == "wrong" and not judged.add and not judged.remove:
        return f"{record.owner} {record.kind}: {judged.says}"
    return ""


def _line(record: Record, value: str, ttl: int) -> str:
    return f"{record.owner} {ttl} IN {record.kind} {value}\n"


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}

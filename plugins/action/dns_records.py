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
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.held import held_records
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.output import nsupdate_script, terraform, zone_file
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.plan import Published, leftovers
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.publish import Publisher, difference
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.records import Record, zones_of
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.spf import SpfError
from ansible_collections.postroad.relay.plugins.plugin_utils.zone.values import DnsValueError, host_text

from relay_agent.name_server import NameServer, NameServerError, TsigKey

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
            refused: list[str] = []
            if server:
                published = self._published()
                extra = [*leftovers(records, published), *held_records(fleet)]
                owners = zones_of(extra, options["zones"], fleet)
                for record in extra:
                    zones.setdefault(owners[record.owner], []).append(record)
                key = TsigKey(server["key_name"], server["key_secret"], server["key_algorithm"])
                publisher = Publisher(
                    NameServer(server["server"], server["port"], key),
                    published,
                    records,
                    check_mode=self._task.check_mode,
                )
                try:
                    for zone in filter(None, zones):
                        publisher.publish(zone, zones[zone])
                finally:
                    if not self._task.check_mode:
                        self._remember(publisher.ours)
                diffs += publisher.diffs
                told += publisher.told
                refused = publisher.refused
        except (DnsValueError, SpfError, NameServerError, OSError) as error:
            return result | {"failed": True, "msg": str(error)}
        if refused:
            result |= {"failed": True, "msg": "\n".join(refused)}
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
            diffs.append(difference(str(path), before, content))
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

    def _remember(self, ours: Published) -> None:
        """What is from here, for later runs."""
        entries = [[owner, kind, sorted(values)] for (owner, kind), values in sorted(ours.items()) if values]
        text = "".join(f"  {json.dumps(entry)},\n" for entry in entries).rstrip(",\n")
        content = f"[\n{text}\n]\n" if entries else "[]\n"
        path = self._directory / PUBLISHED
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")

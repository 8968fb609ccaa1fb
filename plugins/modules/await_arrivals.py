#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: wait until messages lie in a mailbox."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: await_arrivals
short_description: Wait until messages lie in a mailbox
description:
  - Looks for messages by their Message-ID, where they arrive, and reports when each was there.
  - A message that does not arrive in time does not fail the module, the result says so; M(postroad.relay.probe_report)
    judges.
  - The times are by the clock of the host that holds the mailbox. It should agree with the vantage's (NTP).
options:
  probes:
    description: The messages, as M(postroad.relay.submit_probe) returns them. Those that were refused are left out.
    type: list
    elements: dict
    required: true
  mailbox:
    description: Where the messages arrive.
    type: dict
    required: true
    options:
      type:
        description:
          - V(maildir) is a Maildir on the host that the module runs on.
          - V(imap) is a folder on an IMAP server that this host can reach.
          - V(relay_log) is the log of the relay that the module runs on. It tells that the host responsible for the
            recipient took the message, not that it lies in a mailbox.
        type: str
        choices: [maildir, imap, relay_log]
        required: true
      path:
        description: Directory of the Maildir.
        type: path
      host:
        description: Name of the IMAP server, as its certificate has it. With V(maildir), the inventory name of the
          host that has it; the playbook uses it, the module does not.
        type: str
      port:
        description: Port of the IMAP server, with TLS from the first byte.
        type: int
        default: 993
      username:
        description: Name to sign in with on the IMAP server.
        type: str
      password:
        description: Password to sign in with on the IMAP server.
        type: str
      folder:
        description: Folder on the IMAP server.
        type: str
        default: INBOX
  timeout:
    description: Seconds to wait.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    details: Looks, and changes nothing, as always.
  diff_mode:
    support: none
author: The Postroad founders
"""

EXAMPLES = r"""
- name: Wait for the messages
  postroad.relay.await_arrivals:
    probes: "{{ _submitted.probes }}"
    mailbox:
      type: maildir
      path: /home/inbox/Maildir
  delegate_to: mx
  register: _arrived
"""

RETURN = r"""
arrivals:
  description: By Message-ID, when the message was there, in seconds since the epoch.
  type: dict
  returned: always
lost:
  description: By Message-ID, what is known of a message that did not arrive.
  type: dict
  returned: always
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.mailbox_watch import (
    ImapMailbox,
    MailboxError,
    Maildir,
    RelayLog,
    Watch,
    wait_for,
)

ARGUMENTS: dict[str, Any] = {
    "probes": {"type": "list", "elements": "dict", "required": True},
    "mailbox": {
        "type": "dict",
        "required": True,
        "options": {
            "type": {"type": "str", "choices": ["maildir", "imap", "relay_log"], "required": True},
            "path": {"type": "path"},
            "host": {"type": "str"},
            "port": {"type": "int", "default": 993},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "folder": {"type": "str", "default": "INBOX"},
        },
        "required_if": [("type", "maildir", ["path"]), ("type", "imap", ["host", "username", "password"])],
    },
    "timeout": {"type": "float", "default": 60},
}


def open_watch(mailbox: Mapping[str, Any], since: float) -> Watch:
    """The place to look at. Raises MailboxError."""
    if mailbox["type"] == "maildir":
        return Maildir(Path(mailbox["path"]), since)
    if mailbox["type"] == "imap":
        login = mailbox["username"], mailbox["password"]
        return ImapMailbox(mailbox["host"], mailbox["port"], *login, folder=mailbox["folder"])
    return RelayLog(since)


def await_all(probes: Sequence[Mapping[str, Any]], mailbox: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Wait for all messages that were taken; the module's result. Raises MailboxError."""
    taken = {probe["message_id"]: probe for probe in probes if probe["ok"]}
    if not taken:
        return {"arrivals": {}, "lost": {}}
    watch = open_watch(mailbox, min(float(probe["submitted"]) for probe in taken.values()))
    seen = wait_for(watch, frozenset(taken), timeout)
    arrivals = {name: sight.arrived for name, sight in seen.items() if sight.arrived is not None}
    waited = f"not there {timeout:.0f} s after the relay took it"
    known = {name: sight.detail if sight.final else f"{waited}, last: {sight.detail}" for name, sight in seen.items()}
    lost = {name: known.get(name, waited) for name in taken if name not in arrivals}
    return {"arrivals": arrivals, "lost": lost}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = await_all(module.params["probes"], module.params["mailbox"], module.params["timeout"])
    except MailboxError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

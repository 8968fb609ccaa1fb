#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of settings_site."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: settings_host
short_description: The web server of the settings, on its host
description:
  - What M(postroad.relay.settings_site) runs on the host. Use that one in a play.
options:
  state:
    description: V(absent) stops the web server and takes its files away.
    type: str
    choices: [present, absent]
    default: present
  configuration:
    description: The web server's configuration. nginx judges it before it is put in place.
    type: str
    default: ''
  pages:
    description: Texts by their path below the root of the web server.
    type: dict
    default: {}
  answers:
    description: Texts that the configuration chooses between, by name.
    type: dict
    default: {}
  profile:
    description: The profile that the host signs with its own key. Without it, there is none.
    type: str
  units:
    description: Content of the units by their name.
    type: dict
    default: {}
  address:
    description: Where the web server answers, as in V(127.0.0.1:880).
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: The settings are served no more
  postroad.relay.settings_host:
    state: absent
"""

RETURN = r"""
removed:
  description: What was (or would be) taken away.
  returned: for V(absent)
  type: list
  elements: str
missing_package:
  description: The Debian package to install before another try.
  returned: when nginx is not on the host
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postroad.relay.plugins.module_utils.settings_host import SettingsError, SettingsHost

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "configuration": {"type": "str", "default": ""},
    "pages": {"type": "dict", "default": {}},
    "answers": {"type": "dict", "default": {}},
    "profile": {"type": "str"},
    "units": {"type": "dict", "default": {}},
    "address": {"type": "str", "default": ""},
}


def one_line(what: object, before: str, after: str) -> dict[str, str]:
    """A difference that is not in a file's text, as Ansible shows it."""
    header = {"before_header": str(what), "after_header": str(what)}
    return header | {"before": f"{before}\n" if before else "", "after": f"{after}\n" if after else ""}


def present(module: AnsibleModule, host: SettingsHost, *, installed: bool) -> dict[str, Any]:
    """Compare, check, write, put to use."""
    params, signs = module.params, module.params["profile"] is not None
    wanted = host.files(params["configuration"], params["pages"], params["answers"], params["profile"], params["units"])
    differing = [file for file in wanted if file.differs()]
    superfluous = host.superfluous(wanted)
    directories = [directory for directory in host.directories(wanted) if directory.differs()]
    diff = [file.diff() for file in differing]
    diff += [one_line(path, "(there)", "") for path in superfluous]
    diff += [one_line(each.path, "(missing, or another owner or mode)", "root:root 0755") for each in directories]
    if not host.runs(signs=signs):
        diff.append(one_line("units", "(not all run, and from boot on)", "(all run, and from boot on)"))
    if signs and not host.is_signed():
        diff.append(one_line("signature of the profile", "(missing, or older than what is signed)", "(new)"))
    waiting = host.not_taken_up(wanted)
    unseen = sorted(waiting - {file.path.name for file in differing})
    if unseen:
        diff.append(one_line(f"use of {', '.join(unseen)}", "(not seen: a run broke off)", "(in use)"))
    result = {"changed": bool(diff), "diff": diff}
    if not diff:
        return result
    if installed:
        host.check(params["configuration"])
    if not module.check_mode:
        host.write(host.directories(wanted), differing, superfluous)
        host.put_to_use(waiting, address=params["address"], signs=signs)
        host.taken_up(wanted).write()
    return result


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)

    def run(args: list[str], /) -> tuple[int, str, str]:
        status, output, errors = module.run_command(args)
        return status, output, errors

    nginx = module.get_bin_path("nginx", opt_dirs=["/usr/sbin"])
    host = SettingsHost(run, nginx=nginx or "nginx")
    try:
        if module.params["state"] == "absent":
            removed = host.remove(check_mode=module.check_mode)
            diff = [one_line(path, "(there)", "") for path in removed]
            module.exit_json(changed=bool(removed), removed=removed, diff=diff)
        if nginx is None and not module.check_mode:
            module.fail_json(msg="nginx is not on this host: install the package nginx", missing_package="nginx")
        result = present(module, host, installed=nginx is not None)
    except (OSError, SettingsError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

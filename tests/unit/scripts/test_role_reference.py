# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the roles: nested keys, defaults, Ansible's markup."""

from pathlib import Path

from role_reference import roles_page

SPECS = """
argument_specs:
  main:
    short_description: A role
    description: [It does C(this).]
    options:
      a_list:
        description: ["V(one) or O(a_list.name), see M(postroad.relay.x)."]
        type: list
        elements: dict
        default: []
        options:
          name: {description: "Its | name.", type: str, required: true}
          via:
            description: Ways.
            type: list
            elements: dict
            options:
              tls: {description: Whether., type: bool, default: false, choices: [true, false]}
"""


def test_page(tmp_path: Path) -> None:
    specs = tmp_path / "a_role" / "meta" / "argument_specs.yml"
    specs.parent.mkdir(parents=True)
    specs.write_text(SPECS)
    page = roles_page(tmp_path)
    assert "## `a_role`\n\nA role.\n\nIt does `this`.\n" in page
    assert "### `a_list`\n\n*list of dict; default `[]`*\n\n`one` or `a_list.name`, see postroad.relay.x.\n" in page
    assert "| `name` | str | required | Its \\| name. |" in page
    assert "| `via[].tls` | bool | `false` | Whether. One of `true`, `false`. |" in page

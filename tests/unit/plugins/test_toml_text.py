# SPDX-License-Identifier: GPL-3.0-or-later
"""What dump_toml writes, Python's own reader reads back."""

import tomllib

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.toml_text import dump_toml
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    assert tomllib.loads(dump_toml(document)) == document


def test_tables_come_after_plain_values_and_lists_of_tables_as_such() -> None:
    text = dump_toml({"listener": [{"port": 587}, {"port": 465}], "hostname": "r", "tls": {"key": "k"}})
    assert text == 'hostname = "r"\n\n[[listener]]\nport = 587\n\n[[listener]]\nport = 465\n\n[tls]\nkey = "k"\n'


def test_none_has_no_form() -> None:
    with pytest.raises(ValueError, match="NoneType"):
        dump_toml({"a": None})

# SPDX-License-Identifier: GPL-3.0-or-later
"""Vaults that stay closed, and what stands for their values; the whole is tried in test_check_inventory."""

from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from inventory_judge import SealedLoader, opened, placeholder, shown

SEALED = "$ANSIBLE_VAULT;1.1;AES256\n3132\n"


def test_a_closed_vault_is_empty_and_remembered(tmp_path: Path) -> None:
    (tmp_path / "vault.yml").write_text(SEALED)
    loader = SealedLoader()
    assert loader.load_from_file(str(tmp_path / "vault.yml")) == {}
    assert loader.load_from_file(str(tmp_path / "vault.yml")) == {}
    assert loader.sealed == [tmp_path / "vault.yml"]


def test_a_closed_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(SEALED)
    loader = SealedLoader()
    with pytest.raises(AnsibleError):
        loader.get_real_file(str(tmp_path / "key.pem"))
    assert loader.sealed == [tmp_path / "key.pem"]


@pytest.mark.parametrize("content", ["a: [", None])
def test_what_is_wrong_otherwise_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "main.yml").write_text(content)
    loader = SealedLoader()
    with pytest.raises(AnsibleError):
        loader.load_from_file(str(tmp_path / "main.yml"))
    assert loader.sealed == []


class EncryptedString:
    """As Ansible's own without a password: its text is an error."""

    def __str__(self) -> str:
        raise AnsibleError("no vault secrets found")


def test_sealed_values_anywhere_inside() -> None:
    value = {"a": [1, EncryptedString()], "b": "plain"}
    assert opened(value, "relay_x") == ({"a": [1, placeholder("relay_x")], "b": "plain"}, True)
    assert opened({"b": ["plain"]}, "relay_x") == ({"b": ["plain"]}, False)


def test_paths_are_as_short_as_they_are_clear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b.yml") == "a/b.yml"
    assert shown(Path("/elsewhere/b.yml")) == "/elsewhere/b.yml"

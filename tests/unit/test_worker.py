# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the worker needs no running agent; tests/integration/agent runs the whole of it."""

from pathlib import Path

import pytest

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.store import Account, AccountsError, render
from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.worker import _accounts

TRUSTED = '[submission]\ntrusted_networks = ["192.0.2.0/24"]\n'


def configured(directory: Path, *auth: str) -> Config:
    listeners = "".join(
        f'[[listener]]\naddress = "127.0.0.1"\nport = {2500 + number}\ntls = "none"\nauth = "{each}"\n'
        for number, each in enumerate(auth)
    )
    path = directory / "agent.toml"
    path.write_text(f'hostname = "relay.test"\n{listeners}{TRUSTED}[accounts]\nfile = "{directory}/accounts.toml"\n')
    return read_config(path)


def test_accounts_are_read_where_someone_can_sign_in(tmp_path: Path) -> None:
    (tmp_path / "accounts.toml").write_text(render({"alice": Account("alice", DUMMY_HASH)}))
    assert list(_accounts(configured(tmp_path, "none", "optional"))) == ["alice"]


def test_without_sign_in_no_accounts_are_needed(tmp_path: Path) -> None:
    assert _accounts(configured(tmp_path, "none", "none")) == {}
    with pytest.raises(AccountsError, match=r"accounts\.toml"):
        _accounts(configured(tmp_path, "none", "required"))

# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker makes of the host's configuration; tests/integration/agent runs whole workers."""

from pathlib import Path

import pytest

from relay_agent.accounts.hashing import DUMMY_HASH
from relay_agent.accounts.store import Account, AccountsError, render
from relay_agent.config.load import read_config
from relay_agent.config.schema import Config
from relay_agent.worker.share import needed_accounts, share

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
    assert list(needed_accounts(configured(tmp_path, "none", "optional"))) == ["alice"]


def test_without_sign_in_no_accounts_are_needed(tmp_path: Path) -> None:
    assert needed_accounts(configured(tmp_path, "none", "none")) == {}
    with pytest.raises(AccountsError, match=r"accounts\.toml"):
        needed_accounts(configured(tmp_path, "none", "required"))


def test_connections_to_others_are_shared_out_and_none_goes_without() -> None:
    config = Config.model_validate(
        {
            "hostname": "relay.test",
            "listener": [{"address": "127.0.0.1", "port": 2525, "tls": "none", "auth": "none"}],
            "submission": {"trusted_networks": ["192.0.2.0/24"]},
            "delivery": {"max_connections": 100, "max_connections_per_destination": 2},
            "shaping": [
                {"destinations": ["few.test"], "connections": 1, "messages_per_minute": 90.0},
                {"destinations": ["free.test"]},
            ],
        }
    )
    ours = share(config, 3)
    # Rounded up: together they may have a few more, and no worker is without.
    assert ours.delivery.max_connections == 34
    assert ours.delivery.max_connections_per_destination == 1
    assert (ours.shaping[0].connections, ours.shaping[0].messages_per_minute) == (1, 30.0)
    assert (ours.shaping[1].connections, ours.shaping[1].messages_per_minute) == (
        config.shaping[1].connections,
        config.shaping[1].messages_per_minute,
    )
    assert config.delivery.max_connections == 100

# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory as Ansible reads it, judged by the preflight of site.yml without a connection and without a vault.

Import after `init_plugin_loader`, which finds collections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible import constants, context
from ansible.cli import CLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from ansible_collections.postroad.relay.plugins.action.inventory_preflight import ActionModule
from ansible_collections.postroad.relay.plugins.plugin_utils.inventory_preview import (
    SEALED,
    HostPreview,
    Problem,
    host_files,
    route_problems,
)
from streaming import ROOT

__all__ = ["GROUP", "Judge", "SealedLoader", "opened", "placeholder", "shown"]

GROUP = "relays"
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_SEALED = {"EncryptedString", "AnsibleVaultEncryptedUnicode"}
"""Types of what is encrypted in the middle of a file, in ansible-core from 2.19 on and before."""
_MOST_SEALED = 200


class SealedLoader(DataLoader):  # type: ignore[misc]  # Ansible has no types
    """Reads files as Ansible does, and takes a vault that it cannot open for an empty one. `sealed`: those."""

    def __init__(self) -> None:
        super().__init__()
        self.sealed: list[Path] = []

    def load_from_file(self, file_name: str, *args: Any, **options: Any) -> Any:
        """The document in a file; {} for a vault that stays closed."""
        try:
            return super().load_from_file(file_name, *args, **options)
        except AnsibleError:
            if not self._seal(file_name):
                raise
            return {}

    def get_real_file(self, file_path: str, decrypt: bool = True) -> Any:
        """A file that can be read; AnsibleError for a vault that stays closed."""
        try:
            return super().get_real_file(file_path, decrypt)
        except AnsibleError:
            self._seal(file_path)
            raise

    def _seal(self, name: str) -> bool:
        path = Path(self.path_dwim(name))
        try:
            with path.open("rb") as file:
                closed = file.read(14) == b"$ANSIBLE_VAULT"
        except OSError:
            return False
        if closed and path not in self.sealed:
            self.sealed.append(path)
        return closed


class Judge:
    """One inventory, its variables and its vaults."""

    def __init__(self, source: Path, extra_vars: Sequence[str] = (), password_files: Sequence[str] = ()) -> None:
        """Raises AnsibleError for an inventory that cannot be read. extra_vars: as of ansible-playbook -e."""
        context.CLIARGS = ImmutableDict(extra_vars=tuple(extra_vars))
        self.loader = SealedLoader()
        self.loader.set_vault_secrets(
            CLI.setup_vault_secrets(
                self.loader,
                vault_ids=constants.DEFAULT_VAULT_IDENTITY_LIST,
                vault_password_files=list(password_files),
                auto_prompt=False,
            )
        )
        self.inventory = InventoryManager(loader=self.loader, sources=[str(source.resolve())])
        self.variables = VariableManager(loader=self.loader, inventory=self.inventory)

    def hosts(self) -> list[HostPreview]:
        """Every relay, judged by itself."""
        return [self._judged(host) for host in self.inventory.get_hosts(GROUP)]

    def _judged(self, host: Any) -> HostPreview:
        preview = HostPreview(host.name)
        try:
            variables = dict(self.variables.get_vars(host=host))
        except AnsibleError as error:
            preview.problems.append(Problem(host.name, "", str(error.message)))
            return preview
        closed = [name for name in variables if name.startswith("relay_") and self._unseal(variables, name)]
        if closed:
            preview.notes.append(f"in a vault that is not open, and taken for a text: {', '.join(sorted(closed))}")
        told, action = self._preflight(variables, preview)
        values = action.values
        told += route_problems(values)
        sealed = {path.name for path in self.loader.sealed}
        for sentence in dict.fromkeys(told):
            if any(name in sentence for name in sealed) or SEALED in sentence:
                preview.notes.append(f"cannot be judged while the vault is closed: {sentence}")
            else:
                advice = " (give it in the inventory, or in a vault beside it)" if _UNDEFINED.search(sentence) else ""
                preview.problems.append(Problem.told(host.name, sentence + advice))
        preview.hostname = str(values.get("relay_agent_hostname") or "")
        preview.siblings = str(variables.get("relay_status_siblings") or "relays")
        preview.files = host_files(values)
        return preview

    def _preflight(self, variables: dict[str, Any], preview: HostPreview) -> tuple[list[str], ActionModule]:
        """What the preflight of site.yml says, with every name that only a closed vault can have taken for a text."""
        assumed: list[str] = []
        while True:
            action = self._action(variables)
            told = action.judge(variables)
            missing = [name for sentence in told for name in _UNDEFINED.findall(sentence) if name not in variables]
            if not missing or not self.loader.sealed or len(assumed) > _MOST_SEALED:
                break
            for name in missing:
                variables[name] = placeholder(name)
                assumed.append(name)
        if assumed:
            vaults = ", ".join(shown(path) for path in self.loader.sealed)
            names = ", ".join(dict.fromkeys(assumed))
            preview.notes.append(f"taken to be in {vaults}, which is not open: {names}")
        return told, action

    def _action(self, variables: Mapping[str, Any]) -> ActionModule:
        """The action plugin as a play would make it, less the connection, which it does not use."""
        task = SimpleNamespace(
            args={}, check_mode=True, async_val=0, diff=False, get_search_path=lambda: [str(ROOT / "playbooks")]
        )
        templar = Templar(loader=self.loader, variables=dict(variables))
        return ActionModule(task, SimpleNamespace(), SimpleNamespace(), self.loader, templar, None)

    def _unseal(self, variables: dict[str, Any], name: str) -> bool:
        """Put a text in place of what is encrypted in the middle of the inventory and cannot be opened."""
        value, closed = opened(variables[name], name)
        if closed:
            variables[name] = value
        return closed


def opened(value: Any, name: str) -> tuple[Any, bool]:
    """A variable's value with a text for everything inside that cannot be decrypted; whether there was any."""
    if type(value).__name__ in _SEALED:
        try:
            return str(value), False
        except AnsibleError:
            return placeholder(name), True
    if isinstance(value, Mapping):
        pairs = {key: opened(inner, name) for key, inner in value.items()}
        return {key: inner for key, (inner, _) in pairs.items()}, any(closed for _, closed in pairs.values())
    if isinstance(value, list):
        items = [opened(inner, name) for inner in value]
        return [inner for inner, _ in items], any(closed for _, closed in items)
    return value, False


def placeholder(name: str) -> str:
    """What stands for a value that cannot be read."""
    return f"{SEALED} {name})"


def shown(path: Path) -> str:
    """A path as short as it is clear."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

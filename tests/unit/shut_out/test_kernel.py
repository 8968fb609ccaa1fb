# SPDX-License-Identifier: GPL-3.0-or-later
"""What nft is told."""

import subprocess
from ipaddress import ip_address

import pytest

from relay_agent.shut_out import kernel

FOUR, SIX = ip_address("198.51.100.7"), ip_address("2001:db8:1:2::")


def test_addresses_go_into_the_set_of_their_family_with_their_time() -> None:
    told: list[str] = []
    kernel.add({FOUR: 900.9, SIX: 5.0}, told.append)
    assert told == [
        "add element inet postroad shut_out4 { 198.51.100.7 timeout 900s }\n"
        "add element inet postroad shut_out6 { 2001:db8:1:2:: timeout 5s }\n"
    ]


def test_nobody_is_no_command() -> None:
    kernel.add({}, pytest.fail)


def test_one_that_is_not_in_the_set_can_be_let_in() -> None:
    told: list[str] = []
    kernel.remove([FOUR], told.append)
    added, deleted = told[0].splitlines()
    assert added == "add element inet postroad shut_out4 { 198.51.100.7 }"
    assert deleted == "delete element inet postroad shut_out4 { 198.51.100.7 }"


def test_what_nft_says_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "Error: No such file or directory\nadd element\n^^^")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(kernel.FilterError, match=r"^Error: No such file or directory$"):
        kernel.run_nft("add")


def test_a_host_without_nft_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(kernel.FilterError, match="nft"):
        kernel.run_nft("add")

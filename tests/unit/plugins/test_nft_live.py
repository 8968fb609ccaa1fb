# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of steps when rules change: checked, a way back armed, applied; and what is left after a failure."""

import json
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import (
    BOOT_FILE,
    NftError,
    PacketFilter,
    boot_units,
    write_file,
)

OLD = "table inet postroad {\n\tchain old {\n\t}\n}\n"


class Host:
    """Answers as nft and systemd do, and writes down what was asked; `refuses` is the start of what fails."""

    def __init__(self, refuses: str = "nothing", shut_out: str = '{"nftables": []}') -> None:
        self.asked: list[str] = []
        self.refuses = refuses
        self.shut_out = shut_out

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        line = " ".join(args)
        self.asked.append(line)
        if line.startswith(self.refuses):
            return 1, "", "Error: no"
        if line.startswith("nft -j list set"):
            return (0, self.shut_out, "") if self.shut_out else (1, "", "No such file or directory")
        return 0, OLD if " list " in line else "", ""

    def position(self, start: str) -> int:
        return next(index for index, line in enumerate(self.asked) if line.startswith(start))


def test_the_way_back_is_armed_before_the_rules_change(tmp_path: Path) -> None:
    host = Host()
    PacketFilter(host, "nft", tmp_path / "run").apply("new rules", restore_after=45)
    staged = tmp_path / "run" / "staged.nft"
    assert staged.read_text() == (tmp_path / "run" / "loaded.nft").read_text() == "new rules"
    loads = host.position(f"nft -f {tmp_path}/run/loaded.nft")
    assert host.position(f"nft -c -f {staged}") < host.position("systemd-run") < loads
    timer = host.asked[host.position("systemd-run")]
    assert "--on-active=45" in timer
    assert timer.endswith(f"nft -f {tmp_path}/run/restore.nft")


def test_the_way_back_replaces_and_does_not_add(tmp_path: Path) -> None:
    PacketFilter(Host(), "nft", tmp_path / "run").apply("new rules", restore_after=45)
    restore = (tmp_path / "run" / "restore.nft").read_text()
    assert restore == f"table inet postroad {{}}\ndelete table inet postroad\n{OLD}"


@pytest.mark.parametrize("refuses", ["nft -c -f", "systemd-run"])
def test_rules_are_not_touched_when_a_step_before_fails(tmp_path: Path, refuses: str) -> None:
    host = Host(refuses)
    with pytest.raises(NftError, match="Error: no"):
        PacketFilter(host, "nft", tmp_path / "run").apply("new rules", restore_after=45)
    assert not any(line.startswith("nft -f") for line in host.asked)


def test_rules_that_do_not_load_leave_no_timer(tmp_path: Path) -> None:
    host = Host("nft -f")
    with pytest.raises(NftError, match="the rules did not load: Error: no"):
        PacketFilter(host, "nft", tmp_path / "run").apply("new rules", restore_after=45)
    assert host.asked[-1] == "systemctl stop postroad-firewall-restore.timer"


def shut_out(*elements: dict[str, object]) -> str:
    """As nft lists a set."""
    listed = {"name": "shut_out4", "elem": [{"elem": element} for element in elements]}
    return json.dumps({"nftables": [{"metainfo": {}}, {"set": listed}]})


def test_who_is_shut_out_stays_so_for_the_rest_of_his_time(tmp_path: Path) -> None:
    listed = shut_out({"val": "198.51.100.7", "timeout": 900, "expires": 700}, {"val": "198.51.100.8", "expires": 0})
    run = tmp_path / "run"
    PacketFilter(Host(shut_out=listed), "nft", run).apply("set shut_out4 {\n}\n", restore_after=45)
    assert (run / "loaded.nft").read_text() == (
        "set shut_out4 {\n}\nadd element inet postroad shut_out4 { 198.51.100.7 timeout 700s }\n"
    )
    # Rules without the sets have nobody shut out.
    PacketFilter(Host(shut_out=listed), "nft", run).apply("none\n", restore_after=45)
    assert (run / "loaded.nft").read_text() == "none\n"


def test_a_table_without_the_sets_has_nobody_shut_out(tmp_path: Path) -> None:
    assert PacketFilter(Host(shut_out=""), "nft", tmp_path).shut_out("set shut_out4 {") == ""


def test_old_rules_are_put_back_and_then_the_timer_is_stopped(tmp_path: Path) -> None:
    host = Host()
    packet_filter = PacketFilter(host, "nft", tmp_path / "run")
    packet_filter.apply("new rules", restore_after=45)
    host.asked.clear()
    packet_filter.live = lambda: "new rules"  # type: ignore[method-assign]
    assert packet_filter.restore()
    loads = host.position(f"nft -f {tmp_path}/run/restore.nft")
    assert loads < host.position("systemctl stop postroad-firewall-restore.timer")
    assert not (tmp_path / "run" / "staged.nft").exists()


def test_old_rules_that_are_back_are_left_alone(tmp_path: Path) -> None:
    host = Host()
    packet_filter = PacketFilter(host, "nft", tmp_path / "run")
    packet_filter.apply("new rules", restore_after=45)
    host.asked.clear()
    assert not packet_filter.restore()
    assert not any(line.startswith("nft -f") for line in host.asked)


def test_without_a_copy_there_is_nothing_to_put_back(tmp_path: Path) -> None:
    with pytest.raises(NftError, match="no copy of the old rules"):
        PacketFilter(Host(), "nft", tmp_path).restore()


def test_units_load_the_boot_file_and_no_other() -> None:
    units = boot_units("/usr/sbin/nft")
    assert [path.name for path in units] == ["postroad-firewall.service", "postroad.conf"]
    for content in units.values():
        loads = [line for line in content.splitlines() if " -f " in line]
        assert loads
        assert all(line.endswith(f"/usr/sbin/nft -f {BOOT_FILE}") for line in loads)


def test_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_file(path, "one", 0o600)
    write_file(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]

# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of certificate and key in a directory: whole, switched together, put back when the agent will not have them."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.tls_store import CERTIFICATE, KEY, TlsStore, TlsStoreError
from ansible_collections.postroad.relay.plugins.plugin_utils.certificates.private_ca import PrivateCa

from relay_agent.certificates.chain import new_key
from tests.unit.certificates.authority import chain_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the files are root's")

GROUP = "nogroup"
USER = "nobody"
"""Stands for the agent's user: it is on every Debian and owns nothing."""


class Host:
    """Runs openssl for real; answers for systemd as a host would whose agent is `agent`."""

    def __init__(self) -> None:
        self.agent = "stopped"
        self.reloads = 0
        self.proof = (0, "", "")
        self.proofs = 0

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        if args[1:3] == ["certificate", "prove"]:
            self.proofs += 1
            return self.proof
        if args[0] != "systemctl":
            done = subprocess.run(args, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        if args[1] == "is-active":
            return (3 if self.agent == "stopped" else 0), "", ""
        self.reloads += 1
        return (0, "", "") if self.agent == "running" else (1, "", "it refuses")


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def store(host: Host, tmp_path: Path) -> TlsStore:
    made = TlsStore(host, tmp_path / "etc" / "tls", USER)
    assert made.prepare(check_mode=False) is True
    return made


@pytest.fixture
def authority(tmp_path: Path) -> PrivateCa:
    return PrivateCa.open_or_create(tmp_path / "ca")


def renew(store: TlsStore, authority: PrivateCa) -> str:
    chain = authority.sign(store.request(), ["relay.example.org"], 30)
    store.install(chain)
    return chain


def test_nothing_there(store: TlsStore) -> None:
    assert store.chain() == ""
    assert store.key_matches() is False


def test_check_mode_makes_nothing(host: Host, tmp_path: Path) -> None:
    absent = TlsStore(host, tmp_path / "none", USER)
    assert absent.prepare(check_mode=True) is True
    assert not (tmp_path / "none").exists()


def test_pair_is_in_use_and_for_the_agent_alone(store: TlsStore, authority: PrivateCa) -> None:
    chain = renew(store, authority)
    assert store.chain() == chain
    assert store.key_matches() is True
    key = store.directory / KEY
    assert (key.stat().st_uid, key.group(), key.stat().st_mode & 0o7777) == (0, GROUP, 0o640)
    assert store.directory.stat().st_mode & 0o7777 == 0o750
    assert not (store.directory / "requested").exists()
    assert store.prepare(check_mode=False) is False


def test_modes_are_mended(store: TlsStore, authority: PrivateCa) -> None:
    renew(store, authority)
    (store.directory / KEY).chmod(0o644)
    assert store.prepare(check_mode=True) is True
    assert (store.directory / KEY).stat().st_mode & 0o7777 == 0o644
    assert store.prepare(check_mode=False) is True
    assert (store.directory / KEY).stat().st_mode & 0o7777 == 0o640


def test_what_is_out_of_place_is_named(host: Host, store: TlsStore, authority: PrivateCa, tmp_path: Path) -> None:
    absent = TlsStore(host, tmp_path / "none", USER)
    assert absent.misplaced() == [f"{tmp_path}/none is missing", f"{tmp_path}/none/versions is missing"]
    renew(store, authority)
    assert store.misplaced() == []
    key = (store.directory / KEY).resolve()
    key.chmod(0o644)
    assert store.misplaced() == [f"{key} has another owner or mode"]
    assert store.prepare(check_mode=False) is True
    assert store.misplaced() == []


class PowerCutError(Exception):
    """The machine went away."""


def test_a_pair_that_the_agent_was_not_told_of_is_known(
    store: TlsStore, host: Host, authority: PrivateCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(store, authority)
    assert store.is_taken_up()

    def cut(self: TlsStore) -> bool:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(TlsStore, "_reload_agent", cut)
        with pytest.raises(PowerCutError):
            renew(store, authority)
    assert store.key_matches()
    assert not store.is_taken_up()
    host.agent = "refusing"
    with pytest.raises(TlsStoreError):
        renew(store, authority)
    assert not store.is_taken_up()
    host.agent = "running"
    renew(store, authority)
    assert store.is_taken_up()


def test_each_request_has_a_new_key(store: TlsStore, authority: PrivateCa) -> None:
    renew(store, authority)
    first = (store.directory / KEY).read_text()
    renew(store, authority)
    assert (store.directory / KEY).read_text() != first


def test_pair_that_is_none_is_refused(store: TlsStore, authority: PrivateCa) -> None:
    chain = renew(store, authority)
    store.request()
    with pytest.raises(TlsStoreError, match="the private key does not belong to the certificate"):
        store.install(chain)
    assert store.chain() == chain
    assert store.key_matches() is True


def test_running_agent_is_reloaded(store: TlsStore, host: Host, authority: PrivateCa) -> None:
    host.agent = "running"
    chain = authority.sign(store.request(), ["relay.example.org"], 30)
    assert store.install(chain) is True
    assert host.reloads == 1


def test_stopped_agent_is_left_alone(store: TlsStore, host: Host, authority: PrivateCa) -> None:
    assert store.install(authority.sign(store.request(), ["relay.example.org"], 30)) is False
    assert host.reloads == 0


def test_agent_that_refuses_gets_its_pair_back(store: TlsStore, host: Host, authority: PrivateCa) -> None:
    chain = renew(store, authority)
    host.agent = "refusing"
    with pytest.raises(
        TlsStoreError, match=r"the pair before is back: relay-agent.service could not be reloaded: it refuses"
    ):
        renew(store, authority)
    assert store.chain() == chain
    assert store.key_matches() is True


def test_files_that_someone_put_there_are_replaced(store: TlsStore, authority: PrivateCa) -> None:
    (store.directory / CERTIFICATE).write_text("by hand")
    (store.directory / KEY).write_text("by hand")
    assert store.chain() == "by hand"
    assert store.key_matches() is False
    renew(store, authority)
    assert store.key_matches() is True


def test_three_versions_are_kept(store: TlsStore, authority: PrivateCa) -> None:
    for _ in range(5):
        renew(store, authority)
    assert len(list((store.directory / "versions").iterdir())) == 3
    assert store.key_matches() is True


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of the agent that looks at its ports."""
    (tmp_path / "relay-agent").touch()
    monkeypatch.setattr(
        "ansible_collections.postroad.relay.plugins.module_utils.tls_store.PROGRAM", tmp_path / "relay-agent"
    )


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("status", [0, 2])
def test_the_ports_show_it(store: TlsStore, authority: PrivateCa, host: Host, status: int) -> None:
    host.agent, host.proof = "running", (status, "", "")
    chain = renew(store, authority)
    assert store.chain() == chain
    assert host.reloads == 1


@pytest.mark.usefixtures("program")
def test_ports_that_do_not_show_it_have_the_old_pair_back(store: TlsStore, authority: PrivateCa, host: Host) -> None:
    chain = renew(store, authority)
    host.agent, host.proof = "running", (1, "", "relay-agent: port 465 shows another certificate")
    with pytest.raises(TlsStoreError, match="the pair before is back: relay-agent: port 465 shows another"):
        renew(store, authority)
    assert store.chain() == chain
    assert store.key_matches()
    assert host.reloads == 2


def take(store: TlsStore, *, drained: bool) -> None:
    """Drain the host of this store, or have it take mail again."""
    path = store.directory.parent / "drained.json"
    path.write_text("{}") if drained else path.unlink()


@pytest.mark.usefixtures("program")
def test_a_drained_host_is_not_asked_to_show_it_before_it_takes_mail(
    store: TlsStore, authority: PrivateCa, host: Host
) -> None:
    renew(store, authority)
    host.agent, host.proof = "running", (1, "", "relay-agent: port 465 has no handshake: Connection refused")
    take(store, drained=True)
    chain = authority.sign(store.request(), ["relay.example.org"], 30)
    assert store.install(chain) is True
    assert (store.chain(), host.reloads, host.proofs) == (chain, 1, 0)
    assert store.prove_again() == "this host is drained, and all its ports are closed"
    take(store, drained=False)
    assert store.prove_again() == "relay-agent: port 465 has no handshake: Connection refused"
    host.proof = (0, "", "")
    assert store.prove_again() == ""
    assert host.proofs == 2
    assert store.prove_again() == ""
    assert host.proofs == 2


@pytest.mark.usefixtures("program")
def test_a_stopped_agent_shows_it_once_it_runs(store: TlsStore, authority: PrivateCa, host: Host) -> None:
    renew(store, authority)
    assert store.prove_again() == ""
    assert host.proofs == 0
    host.agent, host.proof = "running", (1, "", "no")
    assert store.prove_again() == "no"


@pytest.mark.usefixtures("program")
def test_one_that_the_host_renewed_itself_is_proved_too(store: TlsStore, authority: PrivateCa, host: Host) -> None:
    host.agent = "running"
    renew(store, authority)
    host.proofs, host.proof = 0, (1, "", "no")
    assert store.prove_again() == ""
    for text, said in (("{", ""), ("[]", ""), ('{"unproved": ""}', ""), ('{"unproved": "drained"}', "no")):
        (store.directory / "renewal.json").write_text(text)
        assert store.prove_again() == said
    assert host.proofs == 1


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize(("proof", "proofs"), [((0, "", ""), 0), ((1, "", "no"), 1)])
def test_a_pair_that_comes_back_is_proved_as_it_was(
    store: TlsStore, authority: PrivateCa, host: Host, proof: tuple[int, str, str], proofs: int
) -> None:
    host.agent, host.proof = ("running" if not proofs else "stopped"), proof
    chain = renew(store, authority)
    host.agent, host.proof = "running", (1, "", "no")
    with pytest.raises(TlsStoreError, match="the pair before is back: no"):
        renew(store, authority)
    assert store.chain() == chain
    host.proofs = 0
    store.prove_again()
    assert host.proofs == proofs


@pytest.mark.usefixtures("program")
def test_nothing_goes_back_to_a_pair_that_has_ended(
    store: TlsStore, authority: PrivateCa, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = renew(store, authority)
    monkeypatch.setattr(TlsStore, "_has_ended", lambda _, certificate: certificate.read_text() == ended)
    host.agent, host.proof = "running", (1, "", "port 465 shows another certificate")
    chain = authority.sign(store.request(), ["relay.example.org"], 30)
    with pytest.raises(TlsStoreError, match="in place of one that has ended: port 465 shows"):
        store.install(chain)
    assert store.chain() == chain
    assert store.prove_again() == "port 465 shows another certificate"


def test_when_one_has_ended(store: TlsStore, authority: PrivateCa, tmp_path: Path) -> None:
    renew(store, authority)
    assert not store._has_ended(store.directory / CERTIFICATE)
    yesterday = datetime.now(UTC) - timedelta(days=91)
    (tmp_path / "ended.pem").write_text(chain_for(new_key(), "relay.example.org", begins=yesterday, days=90))
    assert store._has_ended(tmp_path / "ended.pem")


def test_the_key_that_was_announced_comes_next_once(store: TlsStore, authority: PrivateCa) -> None:
    announced = store.directory / "next" / KEY
    announced.parent.mkdir(mode=0o700)
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(announced)]
    subprocess.run(command, check=True, capture_output=True)
    key = announced.read_text()
    renew(store, authority)
    assert (store.directory / KEY).read_text() == key
    assert not announced.exists()
    renew(store, authority)
    assert (store.directory / KEY).read_text() != key

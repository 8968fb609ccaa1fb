# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a host filters to what it should filter, by steps of which each can be taken back."""

from __future__ import annotations

import functools
import ipaddress
import pwd
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ansible_collections.postroad.relay.plugins.module_utils import ssh_access
from ansible_collections.postroad.relay.plugins.module_utils.foreign_filters import (
    ForeignFilter,
    ForeignFilterError,
    active_filters,
)
from ansible_collections.postroad.relay.plugins.module_utils.nft_live import (
    BOOT_FILE,
    BOOT_UNIT,
    NftError,
    PacketFilter,
    boot_units,
)
from ansible_collections.postroad.relay.plugins.module_utils.nft_ruleset import (
    UNKNOWN_UID,
    ExtraPort,
    ExtraRules,
    FirewallPolicy,
    PolicyError,
    Rates,
    parse_networks,
    render,
    submission_ports,
    without_ids,
)
from ansible_collections.postroad.relay.plugins.module_utils.service_user import (
    CommandRunner,
    ServiceUserError,
    ensure_service_user,
)
from ansible_collections.postroad.relay.plugins.module_utils.shut_out_units import ShutOutUnits

__all__ = ["FirewallChange", "FirewallError"]

_PLACE_OF_NFT = "/usr/sbin/nft"  # where Debian's package puts it

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class FirewallError(Exception):
    """A step was not taken, or went wrong; the text says what and where.

    too_late: the old rules were back before the new ones were confirmed.
    """

    too_late = False


class TooLateError(FirewallError):
    """The timer was quicker."""

    too_late = True


def _in_words(step: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Whatever can go wrong on the way as one kind of error."""

    @functools.wraps(step)
    def told(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        try:
            return step(*args, **kwargs)
        except (ForeignFilterError, NftError, OSError, PolicyError, ServiceUserError) as error:
            raise FirewallError(str(error)) from error

    return told


class FirewallChange:
    """One run of the module: the wanted table, the live one, and the way from here to there."""

    def __init__(
        self,
        run: CommandRunner,
        nft: str | None,
        params: Mapping[str, Any],
        *,
        warn: Callable[[str], None],
        check_mode: bool,
    ) -> None:
        """Look at the host: SSH and the filters. `params` are the module's. `nft` None: it is not there, and this is
        check mode."""
        self.installed = nft is not None
        nft = nft or _PLACE_OF_NFT
        self.run = run
        self.params = params
        self.warn = warn
        self.check_mode = check_mode
        self.filter = PacketFilter(run, nft)
        self.units = boot_units(nft)
        self.connection = ssh_access.current_connection()
        self.shut_out = ShutOutUnits(run, self.shut_out_settings(), params["agent_user"])

    def never_shut_out(self) -> list[str]:
        """Those that are spared: whom the operator names here, and who is trusted elsewhere."""
        named = [
            str(network)
            for name, key in (("shut_out", "never"), ("ssh", "sources"), ("rates", "exempt"))
            for network in parse_networks(self.params[name][key], f"relay_firewall_{name}.{key}")
        ]
        return [str(network) for network in parse_networks(named, "relay_firewall_shut_out.never")]

    def shut_out_settings(self) -> dict[str, Any] | None:
        """What the service is told; None when there is to be none. Raises FirewallError."""
        settings = dict(self.params["shut_out"])
        if not settings.pop("enabled"):
            return None
        try:
            return settings | {"never": self.never_shut_out()}
        except PolicyError as error:
            raise FirewallError(str(error)) from error

    def smtp_users(self) -> tuple[dict[str, int] | None, bool]:
        """Ids of the users that may send to port 25 (None: anyone may), and whether the agent's was made."""
        agent = self.params["agent_user"]
        restricted = self.params["outgoing"]["restrict_smtp"]
        if not restricted and not self.params["shut_out"]["enabled"]:
            return None, False
        made = ensure_service_user(self.run, agent, check_mode=self.check_mode)
        if not restricted:
            return None, made
        ids = {}
        for name in [agent, *self.params["outgoing"]["smtp_users"]]:
            try:
                ids[name] = pwd.getpwnam(name).pw_uid
            except KeyError as error:
                if name != agent:
                    raise PolicyError(f"relay_firewall_outgoing.smtp_users: no user {name!r} on this host") from error
                ids[name] = UNKNOWN_UID
        return ids, made

    def ssh_ports(self, listeners: list[ssh_access.Listener]) -> list[int]:
        """The ports asked for, with those added that sshd has and that this run came by."""
        asked = set(self.params["ssh"]["ports"])
        found = ssh_access.sshd_ports(self.run, listeners)
        if self.connection is not None:
            found.add(self.connection.server_port)
        forgotten = sorted(found - asked)
        if asked and forgotten:
            named = ", ".join(map(str, forgotten))
            self.warn(f"relay_firewall_ssh.ports does not name {named}, where sshd is: left open all the same")
        return sorted(asked | found)

    def check_operator_is_let_in(self) -> None:
        """Raise PolicyError when the sources of SSH leave out the address that this run came from."""
        sources = self.params["ssh"]["sources"]
        if not sources or self.connection is None:
            return
        client = ipaddress.ip_address(self.connection.client.partition("%")[0])
        if not any(client in network for network in parse_networks(sources, "relay_firewall_ssh.sources")):
            raise PolicyError(
                f"relay_firewall_ssh.sources: {client}, the address that this run comes from, is in none of "
                f"{', '.join(sources)}: it would lock you out, so the packet filter is left as it was"
            )

    def warn_of_services(self, listeners: list[ssh_access.Listener], open_ports: set[int]) -> None:
        """Say which services of this host the new rules close."""
        for port in sorted({listener.port for listener in listeners if not listener.is_loopback} - open_ports):
            programs = {name for listener in listeners if listener.port == port for name in listener.programs}
            self.warn(
                f"port {port} ({', '.join(sorted(programs)) or 'unknown program'}) has a listener and will be closed "
                "from outside; name it in relay_firewall_extra_ports to keep it open"
            )

    def in_other_filters(self) -> list[tuple[ForeignFilter, set[str], set[str]]]:
        """What is to be opened and closed in ufw and firewalld. Raises ForeignFilterError when it may not be."""
        wanted = {f"{port}/tcp" for port in self.params["ports"]}
        wanted |= {f"{extra['port']}/{extra['protocol']}" for extra in self.params["extra_ports"]}
        found = []
        for tool in active_filters(self.run, self.params["beside"]["firewalld_zones"]):
            missing, surplus = wanted - tool.open_ports(), tool.ours() - wanted
            if missing and not self.params["beside"]["open"]:
                raise ForeignFilterError(
                    f"{tool.name} is active on this host and does not let in {', '.join(sorted(missing))}, which our "
                    f"table cannot open past it: open them in {tool.name}, or have relay_firewall_beside.open do it"
                )
            found.append((tool, missing, surplus))
        return found

    @_in_words
    def apply(self) -> dict[str, Any]:
        """Compare, and unless nothing differs or this is check mode, load the new rules with the timer armed."""
        params = self.params
        if not 10 <= params["proof"]["seconds"] <= 55:
            seconds = params["proof"]["seconds"]
            raise PolicyError(f"relay_firewall_proof.seconds: {seconds} is not between 10 and 55")
        self.check_operator_is_let_in()
        listeners = ssh_access.tcp_listeners(self.run)
        ssh_ports = self.ssh_ports(listeners)
        users, user_made = self.smtp_users()
        extra_ports = [ExtraPort(**extra) for extra in params["extra_ports"]]
        rules = render(
            FirewallPolicy(
                ports=params["ports"],
                ssh_ports=ssh_ports,
                ssh_sources=params["ssh"]["sources"],
                extra_ports=extra_ports,
                rates=Rates(**params["rates"]),
                other_ports=params["other_ports"],
                extra_rules=ExtraRules(**params["extra_rules"]),
                shut_out=self.never_shut_out() if params["shut_out"]["enabled"] else None,
                smtp_users=users,
            )
        )
        # Check mode on a host that does not have nft yet: there is no table, and rules cannot be tried.
        wanted, live = (self.filter.as_loaded(rules), self.filter.live()) if self.installed else (rules, "")
        kept = _read(BOOT_FILE)
        outdated = {path: content for path, content in self.units.items() if _read(path) != content}
        others = self.in_other_filters()
        elsewhere = any(missing or surplus for _, missing, surplus in others) or self.shut_out.differs()
        # Elements of the operator's own sets are in the file and in no listing: another file is loaded, too.
        loads = wanted != live or kept != rules
        boots = self.filter.boots()
        reachable = {listener.port for listener in listeners if not listener.is_loopback}
        result: dict[str, Any] = {
            "changed": user_made or loads or bool(outdated) or elsewhere or not boots,
            "ssh_ports": ssh_ports,
            "served": sorted(reachable & set(params["ports"])),
            "server": self.connection.server if self.connection else "",
            "pending": False,
            "diff": [],
        }
        if kept != rules:
            result["diff"].append(_diff(str(BOOT_FILE), kept, rules if kept else without_ids(rules)))
        elif wanted != live:
            result["diff"].append(_diff("live table inet postroad", live, wanted))
        result["diff"] += [_diff(str(path), _read(path), content) for path, content in outdated.items()]
        if not boots:
            result["diff"].append(_diff(BOOT_UNIT, "", "starts at boot\n"))
        result["diff"] += [_diff(str(path), *contents) for path, contents in self.shut_out.differing().items()]
        for tool, missing, surplus in others:
            if missing or surplus:
                now = tool.open_ports()
                after = (now | missing) - surplus
                result["diff"].append(_diff(f"ports open in {tool.name}", _lines(now), _lines(after)))
        if wanted != live and params["other_ports"] != "accept":
            tcp = {extra.port for extra in extra_ports if extra.protocol == "tcp"}
            # In check mode the agent still has the ports that a real run would have closed before it comes to here.
            dropped = submission_ports(kept) if self.check_mode else set()
            self.warn_of_services(listeners, {*params["ports"], *ssh_ports, *tcp, *dropped})
        if self.check_mode or not result["changed"]:
            return result
        for tool, missing, _ in others:
            tool.change(missing, ())
        if loads:
            self.filter.apply(rules, restore_after=params["proof"]["seconds"])
            result["pending"] = True
            result["connection"] = str(self.connection or "")
        else:
            self.keep(rules)
        return result

    @_in_words
    def confirm(self) -> dict[str, Any]:
        """Keep what `apply` loaded; an error when that is no longer there or nothing has been proved."""
        if self.connection is not None and str(self.connection) == self.params["connection"]:
            raise NftError("no fresh SSH connection was made: that the new rules let the operator in is not proved")
        rules = _read(self.filter.staged_rules)
        if not rules:
            raise NftError("nothing was applied that could be confirmed; run again")
        self.filter.disarm()
        if self.filter.as_loaded(rules) != self.filter.live():
            # The client knocks again and again, and may be let in by the rules that have just come back.
            raise TooLateError("the old rules came back before the new ones were confirmed; run again")
        self.keep(rules)
        return {"changed": True}

    @_in_words
    def restore(self) -> dict[str, Any]:
        """Put the old rules back, unless the timer did."""
        return {"changed": False, "put_back": self.filter.restore()}

    def keep(self, rules: str) -> None:
        """Have the host boot with the rules, close in other filters what is no longer ours, see to the service."""
        self.filter.keep(rules, self.units)
        for tool, _, surplus in self.in_other_filters():
            tool.change((), surplus)
        self.shut_out.ensure()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _lines(values: Iterable[str]) -> str:
    return "".join(f"{value}\n" for value in sorted(values))

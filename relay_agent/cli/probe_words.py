# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found out about a relay, as a person reads it: on a narrow terminal, in a pipe."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from relay_agent.probe.survey import Survey
from relay_agent.probe.verdict import Verdict, What

from .terminal import escape, style, table

__all__ = ["words_of"]

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
#: Of a port that the relay does not have, these say nothing about the network.
_NOTHING = {What.REFUSED, What.SILENT, What.UNREACHABLE}
_NARROWEST = 40
_BESIDES = len("2525  IPv4, IPv6  ")


def words_of(found: Survey, *, everything: bool) -> str:
    """The table, and the setting to use or what to do. everything: ports that the relay does not have, too."""
    width = _width()
    places = ", ".join(address for _, address in found.addresses)
    absent = _absent(found.verdicts)
    seen = [verdict for verdict in found.verdicts if verdict.family not in absent or everything]
    text = [f"{style(escape(found.host), 'bold')}  {places}"]
    text.append(table(["port", "over", "from here"], _rows(found, seen, everything, width), right=["port"]))
    text += [f"\nThere is no way to it over {_FAMILIES[family]} from here." for family in sorted(absent)]
    text.append("\n" + _folded(_whose_ports(found), width))
    setting = found.setting
    if setting is None:
        text.append(_coloured("Mail cannot be sent from here.", _advice(found.verdicts), "red", width))
        return "\n".join(text)
    text.append(_coloured("Mail can be sent from here.", "Set your mail program to:", "green", width))
    kind = "TLS (also called SSL/TLS)" if setting.security == "TLS" else "STARTTLS"
    text.append(f"\n  server    {escape(setting.host)}\n  port      {setting.port}\n  security  {kind}\n")
    text.append(_folded(f"Why this one: {escape(setting.why)}.", width))
    return "\n".join(text)


def _width() -> int | None:
    """Characters of a line; None in a pipe, whose reader folds lines or does not want them folded."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def _folded(text: str, width: int | None) -> str:
    return text if width is None else textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _coloured(first: str, rest: str, colour: str, width: int | None) -> str:
    return style(first, colour) + _folded(f"{first} {rest}", width)[len(first) :]


def _absent(verdicts: Sequence[Verdict]) -> set[str]:
    """The address families that lead nowhere from here, while another does."""
    families = {verdict.family for verdict in verdicts}
    absent: set[str] = {
        family
        for family in families
        if all(verdict.what is What.UNREACHABLE for verdict in verdicts if verdict.family == family)
    }
    return absent if absent < families else set()


def _rows(found: Survey, seen: Sequence[Verdict], everything: bool, width: int | None) -> list[list[str]]:
    """A row for a port, or one for each address family where they differ."""
    declared = {port for port, _ in found.ports}
    ways: dict[tuple[int, str], list[str]] = {}
    for verdict in seen:
        if everything or not declared or verdict.port in declared or verdict.what not in _NOTHING:
            ways.setdefault((verdict.port, verdict.words), []).append(_FAMILIES[verdict.family])
    rows = []
    for (port, words), families in ways.items():
        # Escaped before it is folded: a line's end from a stranger is none of ours.
        lines = [escape(words)] if width is None else _column(escape(words), width)
        rows.append([str(port), ", ".join(families), lines[0]])
        rows += [["", "", line] for line in lines[1:]]
    return rows


def _column(words: str, width: int) -> list[str]:
    return textwrap.wrap(words, max(20, width - _BESIDES)) or [""]


def _whose_ports(found: Survey) -> str:
    if found.signed:
        return f"The relay itself says, signed, that it has the ports {', '.join(str(p) for p, _ in found.ports)}."
    if found.ports:
        return "The relay's own word did not get through; its ports are those it named before."
    return "The relay's own word on its ports did not get through."


def _advice(verdicts: Sequence[Verdict]) -> str:
    seen = {verdict.what for verdict in verdicts}
    for what, words in (
        (What.PORTAL, "This network wants you to log in first: open any web page, then try again."),
        (What.ADDRESS, "Mail programs check the certificate for a name: give the relay's name."),
        (
            What.UNKNOWN_AUTHORITY,
            "If your operator has an authority of their own, give it: --ca ca.pem. If not, somebody reads along: do "
            "not sign in.",
        ),
        (What.CERTIFICATE, "Somebody stands between you and the relay, or its certificate has to be renewed."),
        (What.STRIPPED, "This network takes the encryption out. Use another one, or a VPN."),
        (What.NO_SIGN_IN, "The host answers, but does not take mail from you: is the name right?"),
        (What.OTHER, "Somebody else answers in the relay's place. Use another network, or a VPN."),
    ):
        if what in seen:
            return words
    if seen == {What.REFUSED}:
        return "The host is there, and no relay on it: is the name right?"
    if seen == {What.UNREACHABLE}:
        return "There is no way to it from here: is this machine online?"
    return "Nothing gets through to it: is this machine online, and is the name right?"

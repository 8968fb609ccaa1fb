# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of answers; the answers of a real unbound are in tests/integration/delivery/test_dane.py."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from relay_agent.delivery.tls.policy import NOTHING_KNOWN
from relay_agent.delivery.tls.resolvers import NotSecureError
from relay_agent.delivery.tls.secure_dns import SecureDns
from relay_agent.delivery.tls.tlsa import Tlsa

_TLSA = f"_25._tcp.mx.example. 60 IN TLSA 3 1 1 {'ab' * 32}"
_RECORD = Tlsa(3, 1, 1, b"\xab" * 32)


class Answers:
    """Stands for the resolver: answers by name and type; a leading ``!`` means not validated."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(
        self, query: dns.message.Message, where: str, **options: Any
    ) -> tuple[dns.message.Message, bool]:
        name = query.question[0].name.to_text(omit_final_dot=True)
        kind = query.question[0].rdtype.name
        key = f"{name} {kind}"
        self.asked.append(key)
        assert query.flags & dns.flags.AD
        text = self.answers.get(key, "")
        response = dns.message.make_response(query)
        if text == "SERVFAIL" and not query.flags & dns.flags.CD:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response, False
        if text == "SERVFAIL":
            return response, False
        if text == "DEAD":
            raise OSError("Connection refused")
        if not text.startswith("!"):
            response.flags |= dns.flags.AD
        for line in filter(None, text.lstrip("!").split("\n")):
            owner, lifetime, _, rdtype, data = line.split(" ", 4)
            response.answer.append(dns.rrset.from_text(owner, int(lifetime), "IN", rdtype, data))
        return dns.message.from_wire(response.to_wire()), False


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(answers: dict[str, str]) -> tuple[SecureDns, Answers]:
        stand_in = Answers(answers)
        monkeypatch.setattr("dns.asyncquery.udp_with_fallback", stand_in)
        return SecureDns([("127.0.0.1", 53)]), stand_in

    return make


_ADDRESS = "mx.example. 60 IN A 192.0.2.1"


async def test_records_of_a_host_and_their_life(ask: Any) -> None:
    secure, answers = ask({"mx.example A": _ADDRESS, "_25._tcp.mx.example TLSA": _TLSA})
    found = await secure.tlsa("mx.example", 25)
    assert (found.owner, found.base, found.names) == ("_25._tcp.mx.example", "mx.example", ("mx.example",))
    assert found.records == (_RECORD,)
    number = len(answers.asked)
    assert await secure.tlsa("mx.example", 25) == found
    assert len(answers.asked) == number
    secure.forget()
    await secure.tlsa("mx.example", 25)
    assert len(answers.asked) == 2 * number


async def test_no_question_for_tlsa_without_validated_addresses(ask: Any) -> None:
    secure, answers = ask({"mx.example A": f"!{_ADDRESS}", "_25._tcp.mx.example TLSA": _TLSA})
    assert await secure.tlsa("mx.example", 25) == NOTHING_KNOWN
    assert "_25._tcp.mx.example TLSA" not in answers.asked


@pytest.mark.parametrize("tlsa", ["", f"!{_TLSA}"])
async def test_records_that_are_not_there_or_not_validated(ask: Any, tlsa: str) -> None:
    secure, _ = ask({"mx.example A": _ADDRESS, "_25._tcp.mx.example TLSA": tlsa})
    assert await secure.tlsa("mx.example", 25) == NOTHING_KNOWN


_ALIAS = "mx.example. 60 IN CNAME real.example."


async def test_an_alias_has_the_records_of_where_it_leads(ask: Any) -> None:
    addresses = f"{_ALIAS}\nreal.example. 60 IN A 192.0.2.1"
    real = _TLSA.replace("mx.example", "real.example")
    secure, _ = ask({"mx.example A": addresses, "mx.example AAAA": _ALIAS, "_25._tcp.real.example TLSA": real})
    found = await secure.tlsa("mx.example", 25)
    assert (found.base, found.names) == ("real.example", ("real.example", "mx.example"))
    secure, _ = ask({"mx.example A": addresses, "mx.example AAAA": _ALIAS, "_25._tcp.mx.example TLSA": _TLSA})
    assert (await secure.tlsa("mx.example", 25)).base == "mx.example"


@pytest.mark.parametrize(("alias", "base"), [(_ALIAS, "mx.example"), (f"!{_ALIAS}", "")])
async def test_a_signed_alias_to_what_is_not_signed(ask: Any, alias: str, base: str) -> None:
    addresses = f"!{_ALIAS}\nreal.example. 60 IN A 192.0.2.1"
    secure, _ = ask(
        {
            "mx.example A": addresses,
            "mx.example AAAA": f"!{_ALIAS}",
            "mx.example CNAME": alias,
            "_25._tcp.mx.example TLSA": _TLSA,
        }
    )
    assert (await secure.tlsa("mx.example", 25)).base == base


async def test_bad_signatures_are_told_from_no_answer(ask: Any) -> None:
    secure, _ = ask({"mx.example A": _ADDRESS, "_25._tcp.mx.example TLSA": "SERVFAIL"})
    with pytest.raises(NotSecureError, match="signatures") as caught:
        await secure.tlsa("mx.example", 25)
    assert caught.value.bogus
    secure, answers = ask({"example MX": "DEAD"})
    with pytest.raises(NotSecureError, match="Connection refused") as caught:
        await secure.is_secure("example", "MX")
    assert not caught.value.bogus
    assert len(answers.asked) == 2


async def test_a_name_that_is_none(ask: Any) -> None:
    secure, _ = ask({})
    with pytest.raises(NotSecureError, match="cannot be asked for"):
        await secure.is_secure("a..b", "MX")


async def test_validated_absence(ask: Any) -> None:
    secure, _ = ask({"signed.example MX": "", "open.example MX": "!"})
    assert await secure.is_secure("signed.example", "MX")
    assert not await secure.is_secure("open.example", "MX")

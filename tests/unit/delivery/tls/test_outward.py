# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for a domain, and which reason is told when DNS fails; all of it together is in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay_agent.config.schema import Config
from relay_agent.delivery.outcome import Deferred, Failed
from relay_agent.delivery.resolve import Exchangers, MailHost, Resolver, UnresolvedError
from relay_agent.delivery.tls.mta_sts import Policy
from relay_agent.delivery.tls.outward import DomainRule, OutwardTls, recipients_domains
from relay_agent.delivery.tls.policy import Level, Mode, Wanted
from relay_agent.delivery.tls.resolvers import NotSecureError
from relay_agent.observability.log import EventLog
from relay_agent.queue.model import Message

_FOUND = Exchangers((MailHost("mx.example.org", 10),), 60.0)


class Silent(EventLog):
    def event(self, name: str, *, level: str = "info", **fields: object) -> None:
        pass


class Secure:
    """Stands for SecureDns: `answer` to whether the MX records are signed."""

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer

    async def is_secure(self, name: str, kind: str) -> bool:
        assert (name, kind) == ("example.org", "MX")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def outward(tmp_path: Path, secure: Secure | None = None, **sections: Any) -> OutwardTls:
    document = {
        "hostname": "relay.test",
        "listener": [{"port": 587, "tls": "none", "auth": "none"}],
        "queue": {"directory": str(tmp_path)},
        "delivery": {"resolvers": ["192.0.2.1"]},
        **sections,
    }

    async def submit(message: Message) -> None:
        raise AssertionError("nothing is sent")

    resolver = Resolver((), "relay.test")
    new = OutwardTls(Config.model_validate(document), resolver, Silent(), submit)
    if secure is not None:
        new._secure = secure  # type: ignore[assignment]
    return new


async def _gives(result: Exchangers | Exception) -> Exchangers:
    if isinstance(result, Exception):
        raise result
    return result


@pytest.mark.parametrize(
    ("domain", "level"),
    [
        ("example.org", Level.VERIFIED),
        ("a.example.net", Level.REQUIRED),
        ("elsewhere.example", Level.OPPORTUNISTIC),
        ("[192.0.2.1]", Level.OPPORTUNISTIC),
    ],
)
async def test_the_operator_s_level(tmp_path: Path, domain: str, level: Level) -> None:
    policies = [
        {"domains": ["example.org"], "tls": "verified"},
        {"domains": ["*.example.net", "example.org"], "tls": "required"},
    ]
    found, rule = await outward(tmp_path, tls_policy=policies).look_up(domain, _gives(_FOUND))
    assert found == _FOUND
    assert rule == DomainRule(level)


async def test_signed_records(tmp_path: Path) -> None:
    for answer in (True, False):
        _, rule = await outward(tmp_path, Secure(answer)).look_up("Example.org", _gives(_FOUND))
        assert rule.secure_mx is answer


_NO_ANSWER = UnresolvedError(Deferred("4.4.3", "SERVFAIL"))
_NO_DOMAIN = UnresolvedError(Failed("5.1.2", "no such domain"))


@pytest.mark.parametrize(
    ("secure", "exchangers", "status"),
    [
        (NotSecureError("bogus", bogus=True), _NO_ANSWER, "4.7.5"),
        (NotSecureError("bogus", bogus=True), _FOUND, "4.7.5"),
        (NotSecureError("no answer"), _NO_ANSWER, "4.4.3"),
        (NotSecureError("no answer"), _FOUND, "4.4.3"),
        (NotSecureError("no answer"), _NO_DOMAIN, "5.1.2"),
        (True, _NO_DOMAIN, "5.1.2"),
    ],
)
async def test_the_better_reason(
    tmp_path: Path, secure: bool | Exception, exchangers: Exchangers | Exception, status: str
) -> None:
    """And never an answer when it cannot be told whether it is signed: that would be a downgrade."""
    with pytest.raises(UnresolvedError) as caught:
        await outward(tmp_path, Secure(secure)).look_up("example.org", _gives(exchangers))
    assert caught.value.outcome.status == status


@pytest.mark.parametrize(
    ("dnssec", "resolvers", "expected"),
    [
        ("auto", ["127.0.0.1:5353"], True),
        ("auto", ["192.0.2.1"], False),
        ("on", ["192.0.2.1"], True),
        ("off", ["127.0.0.1"], False),
    ],
)
async def test_who_is_believed(tmp_path: Path, dnssec: str, resolvers: list[str], expected: bool) -> None:
    tls = outward(tmp_path, delivery={"resolvers": resolvers, "dnssec": dnssec})
    assert (tls._secure is not None) is expected


def test_a_rule_for_its_hosts() -> None:
    policy = Policy(Mode.ENFORCE, 60, ("mx.example.org",))
    rule = DomainRule(Level.REQUIRED, True, policy)
    assert rule.wanted("mx.example.org") == Wanted(Level.REQUIRED, True, Mode.ENFORCE, True)
    assert rule.wanted("mx.evil.example") == Wanted(Level.REQUIRED, True, Mode.ENFORCE, False)
    none = DomainRule(policy=Policy(Mode.NONE, 60, ()))
    assert none.wanted("mx.evil.example") == Wanted()


def test_domains_of_recipients() -> None:
    assert recipients_domains(["B\u00fccher.example", "[192.0.2.1]", "a..b"]) == ("xn--bcher-kva.example",)

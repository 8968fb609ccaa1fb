# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounce as the programs of others read it: Perl's Mail::DeliveryStatus::BounceParser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dkim

from relay_agent.config.schema import Dkim
from relay_agent.dkim.keys import Algorithm
from relay_agent.dkim.record import record_text
from relay_agent.dkim.store import KeyStore

from .conftest import MakeRelay
from .peers import Sink, program

MakeSink = Callable[..., Sink]

_SCRIPT = """
my $bounce = Mail::DeliveryStatus::BounceParser->new(\\*STDIN);
print $bounce->is_bounce, "\\n", $bounce->orig_message_id, "\\n";
for my $report ($bounce->reports) {
    print join("|", map { $report->get($_) // "" } "email", "std_reason", "smtp_code"), "\\n";
}
"""


async def test_understood_by_a_bounce_parser(relay: MakeRelay, sink: MakeSink) -> None:
    sink("127.0.2.4", "-f", "RCPT", "-B", "550 5.1.1 No such user")
    home = sink()
    sender = await relay()
    content = b"Message-ID: <1@home.test>\r\nSubject: hello\r\n\r\n"
    await sender.send("bob@fault.test", "carol@nowhere.test", sender="alice@alpha.test", content=content)
    await sender.outcome("delivered")
    (bounce,) = home.received()
    command = [program("perl"), "-MMail::DeliveryStatus::BounceParser", "-e", _SCRIPT]
    pipe = asyncio.subprocess.PIPE
    parser = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    output, errors = await parser.communicate(bounce.content)
    assert parser.returncode == 0, f"is a package missing? run scripts/test-packages.sh: {errors.decode()}"
    is_bounce, message_id, *reports = output.decode().splitlines()
    assert (is_bounce, message_id) == ("1", "<1@home.test>")
    assert sorted(reports) == ["bob@fault.test|user_unknown|550", "carol@nowhere.test|domain_error|512"]


async def test_signed_by_the_keys_of_the_relay_s_own_name(relay: MakeRelay, sink: MakeSink, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    store = KeyStore(Dkim(directory=tmp_path / "dkim"))
    (key,) = store.make("relay.test", (Algorithm.ED25519,), now)
    store.activate([key], now)
    home = sink()
    sender = await relay(sections={"dkim": {"directory": tmp_path / "dkim"}})
    await sender.send("carol@nowhere.test", sender="alice@alpha.test")
    await sender.outcome("delivered")
    (bounce,) = home.received()
    assert str(bounce.parsed["From"]).endswith("<MAILER-DAEMON@relay.test>")
    assert dkim.verify(bounce.content, dnsfunc=lambda name, timeout=5: record_text(key).encode())

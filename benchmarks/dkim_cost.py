#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a DKIM signature costs: CPU time of a message without, with RSA, with Ed25519, with both, and by dkimpy.

"Taking in" is all that the agent does to a message between the last octet and the commit: header, spool, signature;
and the commit itself, on a real disk, many at once. Run by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import dkim
from cryptography.hazmat.primitives import serialization

from relay_agent.config.schema import Dkim
from relay_agent.dkim.keys import Algorithm, Key, KeyState, make_key, render_key
from relay_agent.dkim.signer import Signer
from relay_agent.observability.log import MailLog
from relay_agent.queue.body import MemoryBody
from relay_agent.queue.embedded import EmbeddedStore
from relay_agent.queue.model import Envelope, Message, Recipient
from relay_agent.submission.incoming import IncomingMessage

_AT_ONCE = 64
_HEADER = (
    b"From: Alice <alice@alpha.test>\r\nTo: bob@beta.test\r\nSubject: The figures of the third quarter\r\n"
    b"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@alpha.test>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nUser-Agent: a mail program\r\n\r\n"
)


def content(size: int) -> bytes:
    """A message of about so many octets, lines of words as people write them."""
    line = b"These are the words of a line in a message, and more of them.\r\n"
    return _HEADER + line * max(1, (size - len(_HEADER)) // len(line))


async def with_agent(signer: Signer | None, directory: Path, data: bytes, count: int) -> float:
    """CPU microseconds for each of `count` messages taken in and committed."""
    async with EmbeddedStore(directory) as store:
        left = iter(range(count))

        async def submit() -> None:
            for _ in left:
                incoming = IncomingMessage(directory, "relay.test", "ESMTPSA")
                incoming.write(data)
                assert incoming.complete() is None
                body = incoming.body()
                kept = await signer.signed(body, incoming.queue_id) if signer is not None else body
                now = incoming.started
                recipients = {0: Recipient("bob@beta.test")}
                await store.store(Message(incoming.queue_id, Envelope("a@b.test", "a"), recipients, kept, now, now + 9))

        begun = time.process_time()
        await asyncio.gather(*(submit() for _ in range(_AT_ONCE)))
        return (time.process_time() - begun) / count * 1e6


async def alone(signer: Signer, data: bytes, count: int) -> float:
    """CPU microseconds for a signature of ours."""
    begun = time.process_time()
    for _ in range(count):
        await signer.signed(MemoryBody(data), "id")
    return (time.process_time() - begun) / count * 1e6


def by_dkimpy(keys: Sequence[Key], data: bytes, count: int) -> float:
    """CPU microseconds for the same signatures by dkimpy."""
    signers = [_dkimpy(key, data) for key in keys]
    begun = time.process_time()
    for _ in range(count):
        for sign in signers:
            sign()
    return (time.process_time() - begun) / count * 1e6


def _dkimpy(key: Key, data: bytes) -> Callable[[], object]:
    options = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    if key.algorithm is Algorithm.RSA:
        secret = key.private.private_bytes(serialization.Encoding.PEM, *options)
        name = b"rsa-sha256"
    else:
        import base64

        raw = key.private.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, options[1])
        secret, name = base64.b64encode(raw), b"ed25519-sha256"
    selector, domain, relaxed = key.selector.encode(), key.domain.encode(), (b"relaxed", b"relaxed")

    def sign() -> object:
        return dkim.sign(data, selector, domain, secret, canonicalize=relaxed, signature_algorithm=name)

    return sign


def make_signer(directory: Path, keys: Sequence[Key]) -> Signer:
    """A worker's signer with these keys."""
    place = directory / "alpha.test"
    place.mkdir(parents=True)
    for key in keys:
        (place / f"{key.selector}.pem").write_bytes(render_key(key))
    signer = Signer(Dkim(directory=directory), MailLog())
    signer.reload()
    return signer


async def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 60_000, 1_000_000], help="bytes of a message")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long each figure is measured")
    parser.add_argument("--directory", type=Path, help="where to put the store (default: a temporary directory)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    made = [make_key("alpha.test", each.key_type, each, datetime.now(UTC)) for each in Algorithm]
    keys = [replace(key, state=KeyState.ACTIVE) for key in made]
    kinds: dict[str, list[Key]] = {"none": [], "rsa": keys[:1], "ed25519": keys[1:], "both": keys}
    directory = Path(tempfile.mkdtemp(prefix="dkim-", dir=options.directory))
    rows = []
    if not options.json:
        heads = ("bytes", "keys", "taken in us", "times", "signing us", "dkimpy us", "ratio")
        print("{:>8} {:>8} {:>12} {:>6} {:>11} {:>10} {:>6}".format(*heads))
    try:
        for size in options.sizes:
            data, plain = content(size), 0.0
            for name, chosen in kinds.items():
                place = directory / f"{size}-{name}"
                signer = make_signer(place / "keys", chosen) if chosen else None
                (place / "queue").mkdir(parents=True)
                count = max(20, int(options.seconds * 1e6 / (300 + size / 50)))
                taken = await with_agent(signer, place / "queue", data, count)
                plain = plain or taken
                ours = await alone(signer, data, count) if signer is not None else 0.0
                theirs = by_dkimpy(chosen, data, max(5, count // 20)) if chosen else 0.0
                shutil.rmtree(place)
                row = {"bytes": len(data), "keys": name, "taken_in_us": taken, "times": taken / plain}
                rows.append(row | {"signing_us": ours, "dkimpy_us": theirs, "ratio": theirs / ours if ours else 0.0})
                if not options.json:
                    print(
                        f"{len(data):>8} {name:>8} {taken:>12.0f} {taken / plain:>6.2f} "
                        f"{ours:>11.0f} {theirs:>10.0f} {rows[-1]['ratio']:>6.1f}"
                    )
    finally:
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

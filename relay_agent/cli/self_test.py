# SPDX-License-Identifier: GPL-3.0-or-later
"""``relay-agent self-test``: would this release work on this host? Run before it is switched to."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import sqlite3
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .terminal import escape, print_json, style

__all__ = ["run"]

_MIN_SQLITE = (3, 37, 0)  # STRICT tables
_MIN_OPENSSL = (3, 0)


def run(arguments: argparse.Namespace) -> int:
    """0 when every test passed."""
    results: list[dict[str, object]] = []
    for name, test in _TESTS:
        begun = time.monotonic()
        try:
            detail, good = test(), True
        except Exception as error:  # a test that fails in any way at all has failed
            detail, good = f"{type(error).__name__}: {error}", False
        seconds = round(time.monotonic() - begun, 3)
        results.append({"test": name, "good": good, "detail": detail, "seconds": seconds})
        if not arguments.json:
            mark = style("good", "green") if good else style("BAD ", "red")
            print(f"{mark}  {name}: {escape(detail)}")
    good = all(result["good"] for result in results)
    if arguments.json:
        print_json({"good": good, "tests": results})
    return 0 if good else 1


def _python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _modules() -> str:
    import relay_agent

    names = [module.name for module in pkgutil.walk_packages(relay_agent.__path__, "relay_agent.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return f"{len(names)} modules of release {relay_agent.__version__}"


def _tls() -> str:
    if ssl.OPENSSL_VERSION_INFO < _MIN_OPENSSL:
        raise RuntimeError(f"{ssl.OPENSSL_VERSION} is too old (expected 3.0 or newer)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return f"{ssl.OPENSSL_VERSION}, TLS 1.2 and 1.3"


def _sqlite() -> str:
    if sqlite3.sqlite_version_info < _MIN_SQLITE:
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old (expected 3.37 or newer)")
    return sqlite3.sqlite_version


def _passwords() -> str:
    from relay_agent.accounts.hashing import hash_password, verify_password

    hashed = hash_password("self-test")
    begun = time.monotonic()
    if not verify_password(hashed, "self-test") or verify_password(hashed, "another"):
        raise RuntimeError("argon2id does not tell right from wrong")
    return f"argon2id, {(time.monotonic() - begun) / 2 * 1000:.0f} ms a sign-in"


def _queue() -> str:
    with tempfile.TemporaryDirectory(prefix="postroad-self-test-") as directory:
        milliseconds = asyncio.run(_store_and_read(Path(directory))) * 1000
    return f"a message stored, read back after reopening and removed, {milliseconds:.1f} ms to the disk"


async def _store_and_read(directory: Path) -> float:
    from relay_agent.queue.body import MemoryBody
    from relay_agent.queue.embedded import EmbeddedStore
    from relay_agent.queue.model import Envelope, Message, Recipient, new_queue_id

    content = b"Subject: self-test\r\n\r\nIt arrived.\r\n"
    now = time.time()
    queue_id = new_queue_id(now)
    recipient = Recipient("self-test@localhost")
    message = Message(queue_id, Envelope(""), {0: recipient}, MemoryBody(content), now, now + 60)
    # The disk here may be a small tmpfs: what a relay keeps free is not to be asked of it.
    async with EmbeddedStore(directory, minimum_free=0) as store:
        begun = time.monotonic()
        await store.store(message)
        seconds = time.monotonic() - begun
    async with EmbeddedStore(directory, minimum_free=0) as store:
        found = await store.get(queue_id)
        if found is None or found.body.read() != content:
            raise RuntimeError("the message did not come back as it was")
        if await store.delete([queue_id]) != 1 or (await store.counts()).messages:
            raise RuntimeError("the message could not be removed")
    return seconds


_TESTS: tuple[tuple[str, Callable[[], str]], ...] = (
    ("Python", _python),
    ("modules", _modules),
    ("TLS", _tls),
    ("SQLite", _sqlite),
    ("passwords", _passwords),
    ("queue", _queue),
)

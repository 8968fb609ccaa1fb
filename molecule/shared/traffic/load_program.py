# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the laptop: submits to several relays at once until a file appears, and writes down what became of each.

Half of the clients keep their session, the others open one for each message. Each line that is printed is one
message: relay, token, how ("kept" or "fresh"), the error or null, and that of the first try where it was tried again.
"""

import contextlib
import itertools
import json
import smtplib
import ssl
import sys
import threading
import time
from pathlib import Path

PAUSES = {True: 0.4, False: 1.0}  # seconds; a sign-in costs the relay far more than a message


def main() -> None:
    """Arguments: a file with the settings, JSON."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stop = Path(settings["stop"])
    threads = [
        threading.Thread(target=client, args=(settings, relay, kept, stop))
        for relay in settings["relays"]
        for kept in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def client(settings: dict, relay: str, kept: bool, stop: Path) -> None:  # type: ignore[type-arg]
    """One mail program."""
    ports = itertools.cycle(settings["ports"].items())
    domains = itertools.cycle(settings["domains"])
    session = None
    for number in itertools.count():
        if stop.exists():
            break
        token = f"{settings['run']}-{relay.partition('.')[0]}-{'kept' if kept else 'fresh'}-{number}"
        domain = next(domains)
        errors: list[str] = []
        for _ in range(1 + settings["retries"]):
            try:
                if session is None:
                    session = signed_in(settings, relay, *next(ports))
                submit(session, token, domain)
                error = None
            except (OSError, smtplib.SMTPException) as problem:
                error = f"{type(problem).__name__}: {problem}"
                errors.append(error)
            if session is not None and (error is not None or not kept):
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    session.quit()
                session = None
            if error is None:
                break
        first = errors[0] if errors and settings["retries"] else None
        how = "kept" if kept else "fresh"
        attempt = {"relay": relay, "token": token, "how": how, "error": error, "first_error": first}
        print(json.dumps(attempt), flush=True)
        time.sleep(PAUSES[kept])
    if session is not None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            session.quit()


def signed_in(settings: dict, relay: str, port: str, tls: str) -> smtplib.SMTP:  # type: ignore[type-arg]
    """A session, ready for mail."""
    trust = ssl.create_default_context(cafile=settings["authority"])
    session: smtplib.SMTP
    if tls == "implicit":
        session = smtplib.SMTP_SSL(relay, int(port), timeout=30, context=trust)
    else:
        session = smtplib.SMTP(relay, int(port), timeout=30)
        session.starttls(context=trust)
    session.login(settings["account"], settings["password"])
    return session


def submit(session: smtplib.SMTP, token: str, domain: str) -> None:
    """One message."""
    sender, recipient = f"alice+{token}@alpha.test", f"bob+{token}@{domain}"
    text = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: load\r\nMessage-ID: <{token}@laptop>\r\n\r\nA line.\r\n"
    session.sendmail(sender, [recipient], text)


if __name__ == "__main__":
    main()

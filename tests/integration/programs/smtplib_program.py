# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends one message with Python's smtplib. Standard input: JSON, see `programs.smtplib`."""

from __future__ import annotations

import base64
import json
import smtplib
import ssl
import sys
from email.message import EmailMessage


def main() -> None:
    wanted = json.load(sys.stdin)
    message = EmailMessage()
    message["From"], message["Subject"] = wanted["sender"], wanted["subject"]
    message["To"] = ", ".join(wanted["recipients"][:3])
    message.set_content(wanted["text"])
    message.add_attachment(base64.b64decode(wanted["attachment"]), "application", "octet-stream", filename="data.bin")
    context = ssl.create_default_context(cafile=wanted["authority"])
    if wanted["tls"] == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL(wanted["host"], wanted["port"], context=context)
    else:
        client = smtplib.SMTP(wanted["host"], wanted["port"])
    with client:
        client.set_debuglevel(int(wanted["verbose"]))
        if wanted["tls"] == "starttls":
            client.starttls(context=context)
        if wanted["mechanism"]:
            client.ehlo_or_helo_if_needed()
            client.user, client.password = wanted["account"], wanted["password"]
            client.auth(wanted["mechanism"], getattr(client, f"auth_{wanted['mechanism'].lower()}"))
        else:
            client.login(wanted["account"], wanted["password"])
        refused = client.send_message(message, wanted["sender"], wanted["recipients"])
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)


if __name__ == "__main__":
    main()

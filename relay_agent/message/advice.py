# SPDX-License-Identifier: GPL-3.0-or-later
"""What an enhanced status code (RFC 3463) means for the person who wrote the mail."""

from __future__ import annotations

__all__ = ["advice"]

_EXACT = {
    "1.1": "The mailbox does not exist at {domain}. Check the spelling of the part before the @.",
    "1.2": "There is no mail domain {domain}. Check the spelling of the part behind the @.",
    "1.3": "The address is not written as a mail address has to be. Check its spelling.",
    "1.6": "The recipient has moved and left no address. Ask them for the new one.",
    "1.8": "Your own address was not accepted. Check the sender address in your mail program.",
    "1.10": "{domain} declares that it takes no mail at all. Check the spelling, or reach the recipient otherwise.",
    "2.1": "The mailbox is switched off. Reach the recipient otherwise.",
    "2.2": "The recipient's mailbox is full. Try again later, or tell them otherwise.",
    "2.3": "The message is too large for this mailbox. Send it without attachments, or share those by a link.",
    "3.4": "The message is too large for the other side. Send it without attachments, or share those by a link.",
    "4.4": "The mail host of {domain} cannot be found. This is for the administrator of {domain} to repair.",
    "4.6": "The mail would go in a circle. This is for the administrators to repair; sending again does not help.",
    "4.7": "The other side could not be reached, or put us off, for all this time. Try again later.",
    "5.3": "The other side takes no message with so many recipients. Send it to fewer at a time.",
    "7.30": "You asked for secure connections only, and there is none all the way to {domain}.",
    "6.3": "The other side takes text only. Attach files the usual way, which encodes them, and send it again.",
    "6.7": "The address or the header holds letters that the other side cannot handle. Use one in plain letters.",
}

_SUBJECT = {
    "1": "The other side does not accept this address. Check its spelling.",
    "2": "Something is wrong with the recipient's mailbox. Reach the recipient otherwise.",
    "3": "The other side's mail system does not take this message.",
    "4": "The other side could not be reached.",
    "5": "The two mail systems do not understand each other. This is for the administrators to look at.",
    "6": "The other side cannot handle this kind of content.",
    "7": "The other side refuses this message by its rules. What it answered, above, may tell why.",
}


def advice(status: str, domain: str) -> str:
    """A sentence or two for the sender; "" when the code says nothing that helps. domain: the recipient's."""
    _, _, detail = status.partition(".")
    text = _EXACT.get(detail) or _SUBJECT.get(detail.partition(".")[0], "")
    return text.format(domain=domain)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, and ways to send through them and to see what arrived."""

from traffic.fixtures import compose, lab, laptop, mailboxes, on, passwords, power, relays, submit

__all__ = ["compose", "lab", "laptop", "mailboxes", "on", "passwords", "power", "relays", "submit"]

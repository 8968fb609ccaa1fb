# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts, and the operator's ways to change them."""

from traffic.fixtures import lab, mailboxes, on, passwords, relays
from traffic.operator import first_runs, play, sign_in

__all__ = ["first_runs", "lab", "mailboxes", "on", "passwords", "play", "relays", "sign_in"]

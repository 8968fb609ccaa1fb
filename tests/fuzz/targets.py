# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything of the agent that reads bytes from outside, by name: a function that takes bytes.

It returns for whatever the agent copes with, and raises for what it does not: an exception that the agent does
not expect, a promise that it breaks. Both the short run (`test_corpus`) and the long one (`run`) call these.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import journal, local, messages, remote, session, submission

__all__ = ["CORPUS", "TARGETS", "Target", "corpus"]

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Target] = {
    "session": session.session,
    "starttls-session": session.starttls_session,
    "lines": submission.lines,
    "path": submission.path,
    "data-content": submission.data_content,
    "bdat-chunks": submission.bdat_chunks,
    "proxy-header": submission.proxy_header,
    "scram": submission.scram,
    "bearer": submission.bearer,
    "plain": submission.plain,
    "token": remote.token,
    "token-answer": remote.token_answer,
    "challenge": remote.challenge,
    "header": messages.header,
    "mailboxes": messages.mailboxes,
    "sender-pattern": messages.sender_pattern,
    "bounce": messages.bounce,
    "feedback": messages.feedback,
    "replies": remote.replies,
    "server": remote.server,
    "config": local.config,
    "accounts": local.accounts,
    "control": local.control,
    "channel": local.channel,
    "database": local.database,
    "journal": journal.journal,
}


def corpus(name: str) -> list[Path]:
    """The inputs that are kept for a target, in a fixed order."""
    return sorted((CORPUS / name).iterdir())

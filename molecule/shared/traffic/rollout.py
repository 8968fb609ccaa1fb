# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of a rollout look at afterwards."""

from dataclasses import dataclass
from subprocess import CompletedProcess

from traffic.load import Submissions

__all__ = ["Story"]


@dataclass(frozen=True)
class Story:
    """What was tried while mail came in, and what each relay ran before and after."""

    rollout: CompletedProcess[str]
    submissions: Submissions
    before: dict[str, str]
    after: dict[str, str]

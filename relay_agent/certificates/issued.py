# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority issued and is not in use: kept until it serves, so that no other one is asked for meanwhile.

Public authorities count what they issue. Let's Encrypt gives out five certificates for the same names in seven days,
and then none for a day and a half (https://letsencrypt.org/docs/rate-limits/). A relay whose ports do not show a new
certificate must not use that up: it tries the one that it has again, however often.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from relay_agent.whole_file import replace_file

from .chain import key_digest, read_leaf
from .journal import Renewals
from .problem import CertificateError
from .settings import CertificateSettings

__all__ = ["Issued", "may_ask", "order"]

_DAY: Final = 86400.0
_PAUSES: Final = (1 * _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY)  # seconds, after one, two... that came to nothing


class Issued:
    """A pair in `issued` below the certificate's directory, which nobody but root may read."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "issued"
        self._chain = self.place / "fullchain.pem"
        self._key = self.place / "privkey.pem"

    def keep(self, chain: str, key: str) -> None:
        """Have this pair from now on, in place of any other. Raises OSError."""
        self.forget()
        self.place.mkdir(mode=0o700)
        for path, content in ((self._key, key), (self._chain, chain)):
            # The file is there, and root's alone, before anything is in it.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            replace_file(path, content.encode("ascii"))

    def pair(self) -> tuple[str, str] | None:
        """Chain and key in PEM; None where there is no pair that is whole."""
        try:
            chain, key = self._chain.read_text("ascii"), self._key.read_text("ascii")
            return (chain, key) if read_leaf(chain).key == key_digest(key) else None
        except (OSError, ValueError, CertificateError):
            return None

    def forget(self) -> None:
        """Keep nothing."""
        shutil.rmtree(self.place, ignore_errors=True)


def order(settings: CertificateSettings) -> str:
    """What an authority is asked for, in words that tell two orders apart."""
    return f"{settings.acme.directory_url} {' '.join(sorted(name.lower() for name in settings.names))}"


def may_ask(renewals: Renewals, wanted: str, now: float) -> float:
    """When the authority may be asked for what is wanted (see `order`), in seconds since the epoch; 0 for at once.

    Each certificate that was issued and came to nothing makes the pause longer: at most three in the first seven days,
    and one in seven days from then on.
    """
    if not renewals.unused or renewals.order != wanted:
        return 0.0
    pause = _PAUSES[min(renewals.unused, len(_PAUSES)) - 1]
    # A time to come: the clock was wrong when that was written.
    return renewals.asked + pause if renewals.asked <= now < renewals.asked + pause else 0.0

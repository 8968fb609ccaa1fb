# SPDX-License-Identifier: GPL-3.0-or-later
"""Going on with a coroutine that was stepped outside of a task until it first waited."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["Rest"]


class Rest:
    """The rest of a coroutine that has already yielded its first future."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], future: Any) -> None:
        self._coroutine = coroutine
        self._future = future

    async def finish(self) -> None:
        """Wait for the first future and run the coroutine to its end."""
        await self

    def __await__(self) -> Generator[Any, Any, None]:
        future = self._future
        while True:
            try:
                value = yield future
            except BaseException as error:
                try:
                    future = self._coroutine.throw(error)
                except StopIteration:
                    return
            else:
                try:
                    future = self._coroutine.send(value)
                except StopIteration:
                    return

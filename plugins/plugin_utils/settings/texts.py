# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of the traveller's page, in one file for each language, and how they become HTML.

A text is no HTML: what it holds is escaped, and so is what is filled in. Only `*…*` becomes words of a screen, and
`` `…` `` words to type.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from markupsafe import Markup, escape

__all__ = ["FILES", "Texts", "languages"]

FILES = Path(__file__).parent / "files"
"""What the page is made of beside this code: its template, style, script, icon and texts."""

_SCREEN = re.compile(r"\*([^*]+)\*")
_TYPED = re.compile(r"`([^`]+)`")


def languages() -> list[str]:
    """The languages there are, by their BCP 47 tags."""
    return sorted(path.stem for path in FILES.glob("*.toml"))


class Texts:
    """The catalogue of one language. Keys are `table.name`; `used` holds those that were asked for."""

    def __init__(self, texts: dict[str, str | list[str]]) -> None:
        self._texts = texts
        self.used: set[str] = set()

    @classmethod
    def read(cls, language: str) -> Texts:
        """Raises ValueError for a language that there is no file of."""
        if language not in languages():
            raise ValueError(f"there are no texts in {language!r}, only in: {', '.join(languages())}")
        tables = tomllib.loads((FILES / f"{language}.toml").read_text(encoding="utf-8"))
        flat: dict[str, str | list[str]] = {}
        for name, value in tables.items():
            if isinstance(value, dict):
                flat |= {f"{name}.{key}": text for key, text in value.items()}
            else:
                flat[name] = value
        return cls(flat)

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._texts)

    def table(self, name: str) -> dict[str, str]:
        """The single texts of a table by their names in it, with nothing filled in."""
        keys = [key for key in self._texts if key.startswith(f"{name}.")]
        return {key.removeprefix(f"{name}."): self._single(key) for key in keys}

    def plain(self, key: str, **values: object) -> str:
        """As it is, for an attribute or a title; still to be escaped."""
        return self._single(key).format(**values)

    def say(self, key: str, **values: object) -> Markup:
        """As HTML. What is filled in is escaped unless it is Markup itself."""
        return _marked(self._single(key), values)

    def steps(self, key: str, **values: object) -> list[Markup]:
        """A list of them."""
        found = self._found(key)
        if isinstance(found, str):
            raise TypeError(f"the text {key} has to be a list")
        return [_marked(text, values) for text in found]

    def _single(self, key: str) -> str:
        found = self._found(key)
        if not isinstance(found, str):
            raise TypeError(f"the text {key} has to be a single one")
        return found

    def _found(self, key: str) -> str | list[str]:
        self.used.add(key)
        return self._texts[key]


def _marked(text: str, values: dict[str, object]) -> Markup:
    escaped = str(escape(text))
    marked = _TYPED.sub(r"<code>\1</code>", _SCREEN.sub(r"<b>\1</b>", escaped))
    # The tags are those of the line above, everything else is escaped.
    return Markup(marked).format(**values)  # noqa: S704

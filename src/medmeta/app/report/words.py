"""All that a report says, from one catalogue per language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medmeta.errors import UnknownNameError

STRINGS = Path(__file__).parent / "strings"
LANGUAGES = ("en", "zh")
SPACE = "\u00a0"  # keeps a figure and its unit on one line


class Words:
    """The catalogue of a language: what stands in it may hold tags, what is put into it may not.

    >>> str(Words("en")("summary.learned_same", images="5 labelled images", total=20))
    '5 labelled images per class, 20 in all.'
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalogue = _catalogue(language)

    def __call__(self, key: str, /, **values: object) -> Markup:
        """The text of ``section.name``, with values in its braces, which are escaped."""
        section, _, name = key.partition(".")
        return Markup(self._catalogue[section][name]).format(**values)

    def plain(self, key: str, /, **values: object) -> str:
        """The same for a place that takes no tags: a list of warnings, an attribute, JSON."""
        section, _, name = key.partition(".")
        text: str = self._catalogue[section][name]
        return text.format(**values)

    def counted(self, n: int, noun: str) -> str:
        r"""A number with its noun, one of those under ``[count]``.

        >>> Words("en").counted(1, "class"), Words("en").counted(1200, "image")
        ('1\xa0class', '1,200\xa0images')
        """
        one, many = self._catalogue["count"][noun]
        return f"{n:,}{SPACE}{one if n == 1 else many}"

    def said(self, text: object) -> str:
        """A sentence or a word that another part of medmeta wrote, in this language if it is known.

        What is not known stays English: figures in it would be lost otherwise.
        """
        known: Mapping[str, str] = self._catalogue["said"]
        if str(text) in known:
            return known[str(text)]
        for pattern, meant in self._catalogue["patterns"].items():
            if found := re.fullmatch(pattern, str(text)):
                return str(found.expand(meant))
        return str(text)

    def section(self, name: str) -> Mapping[str, Any]:
        """All texts under one heading, in order."""
        section: Mapping[str, Any] = self._catalogue[name]
        return section


def check_language(language: str) -> str:
    """The language, or ``UnknownNameError`` where there is no catalogue of it."""
    if language not in LANGUAGES:
        raise UnknownNameError("language of reports", language, LANGUAGES)
    return language


@cache
def _catalogue(language: str) -> Mapping[str, Any]:
    file = STRINGS / f"{check_language(language)}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))

"""CLAIM 2024 and TRIPOD+AI: which of their items a report answers, and where."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from medmeta.app.report.words import Words

Answered = Literal["yes", "part", "no"]

# Of each item that a report can answer: the sections that do. A star: only in part, since the
# people of a study know more. An item that is not here is one that no report can answer.
CLAIM: Mapping[str, str] = {
    "1": "summary*",
    "2": "summary*",
    "3": "summary*",
    "7": "data*",
    "8": "data*",
    "9": "data",
    "10": "data*",
    "11": "data*",
    "12": "data*",
    "18": "readers",
    "19": "trust tested",
    "20": "trust tested",
    "22": "provenance*",
    "23": "provenance*",
    "24": "provenance*",
    "25": "training* provenance*",
    "26": "training*",
    "28": "trust results tested",
    "29": "trust results tested",
    "30": "shift subgroups",
    "31": "explanation",
    "32": "trust tested",
    "33": "results* shift*",
    "35": "data*",
    "36": "subgroups*",
    "37": "trust results tested",
    "38": "trust results",
    "39": "answers*",
    "40": "summary*",
    "41": "summary*",
    "42": "provenance*",
    "43": "provenance*",
}
TRIPOD: Mapping[str, str] = {
    "1": "summary*",
    "2": "summary*",
    "3b": "summary*",
    "5a": "data*",
    "7": "data*",
    "8a": "data*",
    "9b": "data*",
    "10": "trust*",
    "11": "data*",
    "12a": "trust tested",
    "12b": "data*",
    "12c": "provenance* training* trust*",
    "12d": "shift subgroups",
    "12e": "trust results tested",
    "12f": "recalibrated",
    "12g": "provenance",
    "13": "data* trust*",
    "14": "subgroups*",
    "15": "answers* points",
    "16": "shift*",
    "18f": "provenance*",
    "20a": "data*",
    "20b": "subgroups*",
    "20c": "novelty*",
    "21": "data*",
    "22": "provenance",
    "23a": "trust results tested*",
    "23b": "shift subgroups",
    "24": "recalibrated",
    "25": "summary*",
    "26": "summary*",
    "27a": "novelty",
    "27b": "summary*",
    "27c": "summary*",
}
# Parts of a section, which it may lack.
INSIDE = {"readers": "data", "points": "trust", "recalibrated": "calibration"}


@dataclass(frozen=True)
class Item:
    """One item: what it asks for, and the sections ``(anchor, title)`` that answer it."""

    number: str
    asks: str
    answered: Answered
    where: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Checklist:
    """The items of one guideline, with how many are answered, in part, and not."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]

    def count(self, answered: Answered) -> int:
        """How many items are answered so."""
        return sum(item.answered == answered for item in self.items)


def checklists(sections: Collection[str], words: Words) -> list[Checklist]:
    """Both lists for a report that has these sections (and parts, as ``INSIDE`` names them)."""
    return [
        Checklist(
            name,
            words.plain(f"checklist.{name}"),
            words.plain(f"checklist.source_{name}"),
            tuple(
                _item(number, str(asks), known.get(number, ""), sections, words)
                for number, asks in words.section(name).items()
            ),
        )
        for name, known in (("claim", CLAIM), ("tripod", TRIPOD))
    ]


def _item(number: str, asks: str, told: str, sections: Collection[str], words: Words) -> Item:
    """An item is answered in full where one section that is there does so, without a star."""
    present = [entry for entry in told.split() if entry.rstrip("*") in sections]
    full = [entry for entry in present if not entry.endswith("*")]
    shown = [entry.rstrip("*") for entry in full or present]
    where = tuple(
        dict.fromkeys(
            (INSIDE.get(name, name), words.plain(f"nav.{INSIDE.get(name, name)}")) for name in shown
        )
    )
    return Item(number, asks, "yes" if full else "part" if present else "no", where)

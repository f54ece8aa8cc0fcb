"""A report's pictures: thumbnails embedded once each, and cards of answers beside them."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.app.report.content import (
    QueryContent,
    ReportContent,
    SupportContent,
)
from medmeta.app.report.numbers import NO_ANSWER, answers_of

MAX_SIDE = 96  # pixels: the largest that a thumbnail is shown
MAX_WRONG = 24
MAX_RIGHT_EACH_END = 6
MAX_UNCHECKED = 200
MAX_PER_CLASS = 24
TOP = 3
_ORANGE = np.array([230.0, 110.0, 0.0])
_BLUE = np.array([0.0, 114.0, 178.0])


@dataclass(frozen=True)
class Picture:
    """One embedded image; ``key`` is what the page refers to it by."""

    key: str
    width: int
    height: int
    uri: str


_EMPTY = 236  # light grey


class Thumbnails:
    """Embeds each distinct image once and hands out the key of it."""

    def __init__(self) -> None:
        self._by_hash: dict[bytes, Picture] = {}

    def add(self, pixels: NDArray[np.uint8]) -> str:
        """Key of the thumbnail of ``(C, H, W)``: colour for 3 channels, else the first as grey."""
        if not pixels.size:  # of a record alone there is no picture
            pixels = np.full((1, 8, 8), _EMPTY, dtype=np.uint8)
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if digest not in self._by_hash:
            shown = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
            image = Image.fromarray(np.ascontiguousarray(shown))
            image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
            file = io.BytesIO()
            image.save(file, "PNG", compress_level=4)  # as small as 6 here, in half the time
            uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            self._by_hash[digest] = Picture(f"i{len(self._by_hash)}", *image.size, uri)
        return self._by_hash[digest].key

    @property
    def pictures(self) -> list[Picture]:
        """All that were added, in order."""
        return list(self._by_hash.values())


@dataclass(frozen=True)
class Bar:
    """The probability of one class; ``true`` where it is the right one."""

    name: str
    probability: float
    true: bool


@dataclass(frozen=True)
class Neighbour:
    """A support image near a query image."""

    key: str
    name: str
    class_name: str
    similarity: float


@dataclass(frozen=True)
class Card:
    """One query image with its answer; ``truth`` is None where it is not known.

    ``in_set`` names the classes of its conformal set (None: not made), ``novel`` says why it is
    unlike the labelled images, if it is.
    """

    key: str
    name: str
    truth: str | None
    answer: str | None
    confidence: float
    right: bool | None
    bars: tuple[Bar, ...]
    neighbours: tuple[Neighbour, ...]
    in_set: tuple[str, ...] | None = None
    novel: str = ""


@dataclass(frozen=True)
class CardGroup:
    """Cards under one heading; ``total`` is how many there were to choose from."""

    kind: str
    total: int
    cards: list[Card]


@dataclass(frozen=True)
class ClassGallery:
    """Support images of one class: keys with names, and how many there are in all."""

    name: str
    total: int
    images: list[tuple[str, str]]


def support_gallery(
    support: SupportContent, class_names: tuple[str, ...], thumbnails: Thumbnails
) -> list[ClassGallery]:
    """The support images class by class."""
    galleries = []
    for k, name in enumerate(class_names):
        rows = np.flatnonzero(support.labels == k)
        images = [
            (thumbnails.add(support.pixels[row]), support.names[row])
            for row in rows[:MAX_PER_CLASS]
        ]
        galleries.append(ClassGallery(name, len(rows), images))
    return galleries


def card_groups(content: ReportContent, thumbnails: Thumbnails) -> list[CardGroup]:
    """Wrong answers (most confident first), some right ones, and answers nobody could check."""
    if content.query is None:
        return []
    answers, confidence = answers_of(content.query)
    labels = content.query.labels
    rising = np.argsort(np.nan_to_num(confidence, nan=-1.0), kind="stable")
    wrong = [i for i in rising[::-1] if labels[i] >= 0 and answers[i] != labels[i]]
    right = [i for i in rising if labels[i] >= 0 and answers[i] == labels[i]]
    unchecked = [i for i in rising if labels[i] < 0]
    if len(right) > 2 * MAX_RIGHT_EACH_END:
        shown = right[:MAX_RIGHT_EACH_END] + right[-MAX_RIGHT_EACH_END:]
    else:
        shown = right
    groups = (
        ("wrong", wrong, wrong[:MAX_WRONG]),
        ("right", right, shown),
        ("unchecked", unchecked, unchecked[:MAX_UNCHECKED]),
    )
    return [
        CardGroup(kind, len(rows), [_card(content, content.query, int(i), thumbnails) for i in few])
        for kind, rows, few in groups
        if rows
    ]


def _card(content: ReportContent, query: QueryContent, row: int, thumbnails: Thumbnails) -> Card:
    label = int(query.labels[row])
    probabilities = query.probabilities[row]
    names = content.class_names
    valid = bool(np.isfinite(probabilities).all())
    order = np.argsort(-probabilities, kind="stable").tolist() if valid else []
    shown = order[:TOP] + [k for k in order[TOP:] if k == label]
    answer = order[0] if valid else NO_ANSWER
    return Card(
        key=thumbnails.add(query.pixels[row]),
        name=query.names[row],
        truth=names[label] if label >= 0 else None,
        answer=names[answer] if valid else None,
        confidence=float(probabilities[answer]) if valid else math.nan,
        right=answer == label if label >= 0 else None,
        bars=tuple(Bar(names[k], float(probabilities[k]), k == label) for k in shown),
        neighbours=_neighbours(content, query, row, thumbnails),
        in_set=None
        if query.sets is None
        else tuple(name for name, inside in zip(names, query.sets[row], strict=True) if inside),
        novel=query.novelty[row] if query.novelty is not None else "",
    )


def _neighbours(
    content: ReportContent, query: QueryContent, row: int, thumbnails: Thumbnails
) -> tuple[Neighbour, ...]:
    support = content.support
    if support is None:
        return ()
    return tuple(
        Neighbour(
            key=thumbnails.add(support.pixels[near]),
            name=support.names[near],
            class_name=content.class_names[support.labels[near]],
            similarity=float(query.similarity[row, place]),
        )
        for place, near in enumerate(query.nearest[row, :TOP].tolist())
    )


@dataclass(frozen=True)
class MapCard:
    """An image beside its map: keys of both pictures, and what it was answered with."""

    image: str
    map: str
    name: str
    answer: str
    truth: str | None
    right: bool | None


def map_cards(content: ReportContent, thumbnails: Thumbnails) -> list[MapCard]:
    """The gallery of explained answers."""
    told = content.explanation
    asked = None if told is None else content.support if told.of_support else content.query
    if told is None or asked is None:
        return []
    cards = []
    for place, row in enumerate(told.rows.tolist()):
        label, answer = int(asked.labels[row]), int(told.classes[place])
        cards.append(
            MapCard(
                image=thumbnails.add(asked.pixels[row]),
                map=thumbnails.add(overlaid(asked.pixels[row], told.maps[place])),
                name=asked.names[row],
                answer=content.class_names[answer],
                truth=content.class_names[label] if label >= 0 else None,
                right=answer == label if label >= 0 else None,
            )
        )
    return cards


def overlaid(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image ``(C, H, W)`` in grey under its map ``(H, W)``, as colours ``(3, H, W)``.

    Orange is above zero, blue below; the strongest place covers three quarters of what is under it.
    """
    grey = pixels.mean(0) if len(pixels) == 3 else pixels[0].astype(np.float64)
    strength = np.abs(heat) / max(float(np.abs(heat).max()), 1e-12)
    colours = np.where(heat[None] >= 0, _ORANGE[:, None, None], _BLUE[:, None, None])
    mixed = grey[None] * (1 - 0.75 * strength) + colours * 0.75 * strength
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)

"""A page about a predictor of masks: what it learned from, what it marks, and how sure that is."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmeta.app.mask_answers import MarkedImage
from medmeta.app.mask_files import overlay, structure_colour
from medmeta.app.mask_predictor import SavedMaskPredictor
from medmeta.app.report.page import page_environment
from medmeta.app.report.sentences import learner_in_words, notes_and_warnings, provenance
from medmeta.app.report.words import Words
from medmeta.data.mask_shape import UNLABELLED
from medmeta.data.preprocess import as_pictures
from medmeta.storage import write_bytes

MOST_SHOWN = 24
_SIDE = 256


@dataclass(frozen=True)
class MarkedRow:
    """One structure on one image; ``size`` in words, empty where the spacing is not known."""

    structure: str
    pixels: int
    size: str
    confidence: float
    expected: float | None
    dice: float | None


@dataclass(frozen=True)
class MarkedCard:
    """One image: a pseudonym, its picture with outlines, where it is unsure, and its structures."""

    name: str
    shown: str
    unsure: str
    slices: int
    rows: tuple[MarkedRow, ...]


@dataclass(frozen=True)
class MaskReport:
    """Everything that the page shows; names of files are not in it, for they may name a patient."""

    title: str
    learner: str
    structures: tuple[tuple[str, str, int], ...]
    n_images: int
    held_out: tuple[Mapping[str, Any], ...]
    support: tuple[str, ...]
    asked: tuple[MarkedCard, ...]
    n_asked: int
    measured: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, str]
    language: str


def asked_cards(
    marked: Iterable[MarkedImage], structures: Sequence[str], words: Words
) -> tuple[list[MarkedCard], list[tuple[Mapping[str, float], ...]]]:
    """Cards of the first images, and what was measured of all; no more than a picture is kept."""
    cards: list[MarkedCard] = []
    figures = []
    for number, one in enumerate(marked, start=1):
        figures.append(one.measured)
        if number <= MOST_SHOWN:
            cards.append(_card(one, structures, words.plain("answers.name", n=number)))
    return cards, figures


def mask_report(
    predictor: SavedMaskPredictor,
    cards: Sequence[MarkedCard],
    *,
    n_asked: int,
    measured: Sequence[Mapping[str, Any]],
    title: str | None,
    command: str,
    words: Words,
) -> MaskReport:
    """The content of the page."""
    card = predictor.card
    notes, warnings = notes_and_warnings(card, None, words, learned_from=0)
    counts = [
        (
            name,
            structure_colour(k),
            int((predictor.masks == k).reshape(len(predictor.masks), -1).any(1).sum()),
        )
        for k, name in enumerate(predictor.structures, start=1)
    ]
    support = [
        _uri(_outlined(*_shown(one, mask)))
        for one, mask in zip(predictor.pixels[:MOST_SHOWN], predictor.masks, strict=False)
    ]
    return MaskReport(
        title=title or words.plain("masks.title"),
        learner=learner_in_words(card, words),
        structures=tuple(counts),
        n_images=len(predictor.pixels),
        held_out=tuple(card.get("held_out") or ()),
        support=tuple(support),
        asked=tuple(cards),
        n_asked=n_asked,
        measured=tuple(measured),
        warnings=tuple(warnings),
        notes=tuple(notes),
        provenance=provenance(card, card["model"], command, words),
        language=words.language,
    )


def render_mask_report(report: MaskReport) -> str:
    """The whole page as HTML5; the same content gives the same page."""
    environment = page_environment(Words(report.language))
    return environment.get_template("masks.html.j2").render(report=report, most=MOST_SHOWN)


def write_mask_report(path: Path, report: MaskReport) -> None:
    """Render and write the page, as a whole or not at all; raises ``StorageError``."""
    write_bytes(path, render_mask_report(report).encode())


def _card(one: MarkedImage, structures: Sequence[str], name: str) -> MarkedCard:
    """Of a volume the slice is shown on which most is marked, else its middle one."""
    marked = (one.mask > 0).sum((1, 2))
    place = int(marked.argmax()) if marked.any() else len(one.mask) // 2
    rows = []
    for k, structure in enumerate(structures, start=1):
        pixels, size = one.size_of(k)
        unit = "mm²" if len(one.mask) == 1 else "mm³"
        expected = None if one.expected_dice is None else float(one.expected_dice[k - 1])
        measured = float(one.measured[k - 1]["dice"]) if one.measured else None
        told = "" if size is None else f"{size:,.4g} {unit}"
        rows.append(
            MarkedRow(structure, pixels, told, float(one.confidence[k - 1]), expected, measured)
        )
    shown = _uri(overlay(one.shown[place], one.mask[place]))
    unsure = ""
    if one.uncertainty is not None:
        grey = np.rint(255 * np.clip(one.uncertainty[place], 0, 1)).astype(np.uint8)
        unsure = _uri(grey)
    return MarkedCard(name, shown, unsure, len(one.mask), tuple(rows))


def _shown(
    pixels: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A prepared image ``(C, H, W)`` and its mask; of a volume the slice with most marked on it."""
    if mask.ndim == 3:
        marked = ((mask > 0) & (mask != UNLABELLED)).sum((1, 2))
        place = int(marked.argmax()) if marked.any() else len(mask) // 2
        pixels, mask = pixels[:, place], mask[place]
    return as_pictures(pixels[None])[0], mask


def _outlined(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A prepared image ``(C, H, W)`` with its mask's outlines; what is not labelled has none."""
    shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    known = np.where(mask == UNLABELLED, 0, mask).astype(np.uint8)
    return overlay(np.ascontiguousarray(shown), known)


def _uri(pixels: NDArray[np.uint8]) -> str:
    """A picture within the page, at most ``_SIDE`` pixels wide and high."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

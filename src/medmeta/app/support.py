"""A person's support set: read, checked, and what must be said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmeta.app.prepared import prepared
from medmeta.data.listing import ScannedSource
from medmeta.data.patients import unknown_patients
from medmeta.data.preprocess import Preprocessing
from medmeta.data.slices import parts_in_words, slices_in_words
from medmeta.data.source import Source
from medmeta.data.sources import open_source
from medmeta.data.standardise import Levels, Range


@dataclass(frozen=True)
class Support:
    """The opened support set, sentences for the person, and what grey levels were brought to."""

    source: Source
    notes: tuple[str, ...]
    levels: Levels | None = None

    def counts(self) -> dict[str, int]:
        """Images per class; empty for values."""
        labels = self.source.index.labels
        return {} if labels is None else dict(Counter(t for t in labels.texts() if t is not None))


def open_support(
    path: Path,
    preprocessing: Preprocessing,
    *,
    listed: ScannedSource | None = None,
    skip_bad: bool = False,
    split: str = "",
    standardise: str = "",
    reference: Range | None = None,
) -> Support:
    """Open a support folder, manifest or npz, and look for what would mislead.

    ``listed`` is what a survey of a folder found, where there was one: it is not listed again.
    ``split`` and ``standardise`` are as of ``prepared``; ``reference`` is the range of grey levels
    that the model was trained on. Raises ``DataError`` where it cannot be used.
    """
    opened = open_source(path, preprocessing=preprocessing, listed=listed, skip_bad=skip_bad)
    ready = prepared([opened], split=split, standardise=standardise, reference=reference)
    (source,) = ready.sources
    notes = [*(f"{p.where}: {p.what}" for p in source.index.problems), *ready.notes]
    if opened.index.splits.names and not split:
        notes.append("Its column of splits is not followed: say --split to learn from one part.")
    notes += conflicting_pictures(source)
    repeated = len(source) - len(np.unique(source.hashes))
    if repeated:
        pictures = "1 picture is" if repeated == 1 else f"{repeated} pictures are"
        notes.append(f"{pictures} repeated; a repetition teaches nothing new.")
    notes += remarks_on_volumes(source, preprocessing)
    if unknown := unknown_patients(source.index):
        notes.append(f"{unknown}: use images of different patients, and ask about others.")
    return Support(source, tuple(notes), ready.levels)


def remarks_on_volumes(source: Source, preprocessing: Preprocessing) -> list[str]:
    """Which slices stand for the volumes of a source, where it has any."""
    if preprocessing.patches:
        return [f"Volumes are taken in blocks: of each {slices_in_words(preprocessing)}."]
    if preprocessing.depth:
        wholes = parts_in_words(preprocessing)[1].capitalize()
        return [f"{wholes} are taken whole: of each {slices_in_words(preprocessing)}."]
    if not source.n_volumes:
        return []
    parts, wholes = parts_in_words(preprocessing)
    volumes = f"1 {wholes[:-1]}" if source.n_volumes == 1 else f"{source.n_volumes} {wholes}"
    codes = source.volumes
    slices = int((codes >= 0).sum()) if codes is not None else 0
    return [
        f"{slices} of the {len(source)} images are {parts} of {volumes}: of each "
        f"{slices_in_words(preprocessing)}."
    ]


def conflicting_pictures(source: Source) -> list[str]:
    """A warning for each set of classes that share an identical picture."""
    labels = source.index.labels
    if labels is None:
        return []
    order = np.argsort(source.hashes, kind="stable")
    _, starts, counts = np.unique(source.hashes[order], return_index=True, return_counts=True)
    found: Counter[tuple[str, ...]] = Counter()
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        codes = np.unique(labels.codes[order[start : start + count]])
        if len(codes) > 1:
            found[tuple(labels.names[c] for c in codes)] += 1
    return [
        f"warning: {'an identical picture lies' if n == 1 else f'{n} identical pictures lie'} in "
        f"the classes {', '.join(sorted(names))}; one of the labels must be wrong."
        for names, n in found.items()
    ]

"""A person's support set: read, checked, and what must be said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmeta.data.preprocess import Preprocessing
from medmeta.data.source import Source
from medmeta.data.sources import open_source


@dataclass(frozen=True)
class Support:
    """The opened support set, and sentences for the person."""

    source: Source
    notes: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Images per class; empty for values."""
        labels = self.source.index.labels
        return {} if labels is None else dict(Counter(t for t in labels.texts() if t is not None))


def open_support(path: Path, preprocessing: Preprocessing, *, skip_bad: bool = False) -> Support:
    """Open a support folder, manifest or npz, and look for what would mislead.

    Raises ``DataError`` where it cannot be used.
    """
    source = open_source(path, preprocessing=preprocessing, skip_bad=skip_bad)
    notes = [f"{p.where}: {p.what}" for p in source.index.problems]
    labels = source.index.labels
    if labels is not None:
        for digest in np.unique(source.hashes):
            classes = {labels.names[c] for c in labels.codes[source.hashes == digest]}
            if len(classes) > 1:
                notes.append(
                    "warning: an identical picture lies in the classes "
                    f"{', '.join(sorted(classes))}; one of its labels must be wrong."
                )
    repeated = len(source) - len(np.unique(source.hashes))
    if repeated:
        notes.append(f"{repeated} pictures are repeated; each repetition teaches nothing new.")
    if not source.index.patients.known:
        notes.append(
            "Patients are not known: use images of different patients, and ask about others."
        )
    return Support(source, tuple(notes))

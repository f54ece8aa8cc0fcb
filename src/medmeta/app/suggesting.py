"""Images to label next, for a predictor: read, compared with its support, and ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmeta.app.asked_table import read_asked
from medmeta.app.predictor import SavedPredictor
from medmeta.errors import DataError, SettingsError
from medmeta.trust.novelty import ALL_REASONS, IN_COLOUR
from medmeta.trust.suggest import suggest

MOST = 20_000  # images at once: all are compared with all


@dataclass(frozen=True)
class Suggested:
    """Files to label, the most useful first, with each one's gain, answer and novelty.

    ``unlabelled`` images were looked at; ``known`` of them are in the support already, and
    ``alike`` were passed over as nearly the same as another, ``foreign`` as blank, inverted or of
    another kind of picture.
    """

    paths: tuple[Path, ...]
    gains: tuple[float, ...]
    answers: tuple[str, ...]
    sure: tuple[float, ...]
    unlabelled: int
    known: int
    alike: int
    foreign: int
    problems: tuple[tuple[Path, str], ...]


def suggest_images(
    predictor: SavedPredictor,
    paths: Sequence[Path],
    n: int,
    *,
    skip_bad: bool = False,
    group: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Suggested:
    """Rank unlabelled images by what their labels would teach the predictor.

    Of a volume the middle slice stands for it. Raises ``DataError`` where there is no image, or
    none that is not in the support already; ``SettingsError`` for a predictor of values.
    """
    if not predictor.class_names:
        raise SettingsError("suggest works with classes, and this predictor answers values.")
    if n < 1:
        raise SettingsError(f"-n {n}: ask for one image or more.")
    asked = read_asked(predictor, paths, skip_bad=skip_bad, group=group, progress=progress)
    _check_number(len(asked.paths), paths)
    middles = np.cumsum(asked.counts) - asked.counts // 2 - 1
    beside = {name: part[middles] for name, part in asked.beside.items()}
    answers = predictor.predict(asked.pixels[middles], beside)
    foreign = np.zeros(len(asked.paths), dtype=bool)
    if answers.reason is not None:  # blank, inverted or of another kind: no label would teach
        foreign = (answers.reason >= ALL_REASONS.index(IN_COLOUR)) & ~answers.learned_from
    fresh = np.flatnonzero(~answers.learned_from & ~foreign)
    if answers.learned_from.all():
        raise DataError(
            f"all {len(asked.paths)} images are in the predictor's support already; name a folder "
            "of images without labels."
        )
    known, others = predictor.support_embeddings, answers.embeddings[fresh]
    found = suggest(known.astype(np.float64), others.astype(np.float64), answers.outputs[fresh], n)
    rows = fresh[np.array(found.images, dtype=np.int64)]
    best = answers.outputs[rows].argmax(1) if len(rows) else np.zeros(0, np.int64)
    return Suggested(
        paths=tuple(asked.paths[i] for i in rows),
        gains=found.gains,
        answers=tuple(predictor.class_names[k] for k in best),
        sure=tuple(answers.outputs[rows].max(1).tolist()) if len(rows) else (),
        unlabelled=len(asked.paths),
        known=int(answers.learned_from.sum()),
        foreign=int(foreign.sum()),
        alike=found.left_out,
        problems=asked.problems,
    )


def _check_number(n: int, paths: Sequence[Path]) -> None:
    if n > MOST:
        raise DataError(f"{n} images are too many to compare all with all; name at most {MOST}.")
    if not n:
        raise DataError(f"{', '.join(map(str, paths))}: no image in it could be read.")

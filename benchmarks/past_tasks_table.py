"""From measured past tasks to their table: means of cells, and fitted weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from medmeta.learners.auto.candidates import AVERAGE, AVERAGED, candidates_of
from medmeta.learners.auto.choosing import TIE
from medmeta.learners.auto.past import Cell, PastTasks, Weights

Array = NDArray[np.float64]
COLUMNS = ("features", "loss", "accuracy", "likely", "asked", "shown", "answers", "labels", "truth")
ROUNDS = 2  # of weights and averages, each of which depends on the other
DIGITS = 4
CAUTION = 0.05  # what is added to each weight's square, in units of the advantages' own


@dataclass(frozen=True)
class CellData:
    """What was measured on the tasks of one source at one shape; ``C`` candidates, ``T`` tasks.

    ``features`` ``(T, 7)``; held out: ``loss``, ``accuracy`` ``(T, C)``, ``likely`` ``(T, C, F, S,
    K)`` of ``asked`` ``(T, F, S)`` and of the classes ``shown`` ``(T, S)``; in truth: ``answers``
    ``(T, C, Q, K)`` to ``labels`` ``(T, Q)``, and accuracies ``truth`` ``(T, C)``.
    """

    source: str
    shot: int
    way: int
    features: Array
    loss: Array
    accuracy: Array
    likely: NDArray[np.float16]
    asked: Array
    shown: NDArray[np.int64]
    answers: NDArray[np.float16]
    labels: NDArray[np.int64]
    truth: Array

    def save(self, file: Path) -> None:
        """Write whole or not at all."""
        part = file.with_suffix(".part.npz")
        np.savez(part, **{name: getattr(self, name) for name in COLUMNS})
        part.replace(file)

    @classmethod
    def load(cls, file: Path, source: str, shot: int, way: int) -> CellData:
        """Read what was saved."""
        with np.load(file, allow_pickle=False) as held:
            return cls(source, shot, way, **{name: held[name] for name in COLUMNS})

    def averaged(self, scores: Array) -> tuple[Array, Array, Array]:
        """Held-out loss and accuracy and true accuracy ``(T,)`` of the mean of the best few."""
        found = []
        for t, own in enumerate(scores):
            best = np.argsort(-own, kind="stable")[:AVERAGED]
            answer = _mean(self.answers[t, best])
            right = float((answer.argmax(-1) == self.labels[t]).mean())
            loss = accuracy = np.nan
            if self.asked[t].any():  # images could be held out
                held = _mean(self.likely[t, best])  # (F, S, K)
                weights = self.asked[t] / self.asked[t].sum()
                truth = np.take_along_axis(held, self.shown[t][None, :, None], -1)[..., 0]
                loss = -float((truth * weights).sum())
                accuracy = float(((held.argmax(-1) == self.shown[t]) * weights).sum())
            found.append((loss, accuracy, right))
        return tuple(np.array(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _mean(likely: NDArray[np.float16]) -> Array:
    """Logarithm of the mean of probabilities over the first axis."""
    found = np.asarray(likely, dtype=np.float64)
    return np.asarray(np.logaddexp.reduce(found, axis=0) - np.log(len(found)))


@dataclass(frozen=True)
class Cells:
    """All cells, with the names of the candidates."""

    names: tuple[str, ...]
    cells: tuple[CellData, ...]

    @classmethod
    def of(cls, sizes: Mapping[str, int], cells: Sequence[CellData]) -> Cells:
        """Of the parts of an encoder."""
        names = [candidate.name for candidate in candidates_of(tuple(sizes), "classes")]
        return cls((*names, AVERAGE), tuple(cells))


def table_of(cells: Cells, *, made_with: dict[str, str]) -> PastTasks:
    """The table, its weights fitted with each task's own source left out of it, and checked."""
    weights: tuple[Weights, ...] = PastTasks().weights
    table = PastTasks()
    for _ in range(ROUNDS):
        columns = [_with_average(cells, cell, table, weights) for cell in cells.cells]
        table = PastTasks(
            made_with=made_with,
            candidates=cells.names,
            cells=tuple(map(_cell, cells.cells, (truth for _, _, truth in columns))),
            weights=weights,
        )
        weights = _fitted(cells, columns, table)
        table = table.model_copy(update={"weights": weights})
    table = _with_margin(cells, columns, table)
    return table.model_copy(update={"checked": _checked(cells, columns, table)})


def _with_margin(cells: Cells, columns: Sequence[Columns], table: PastTasks) -> PastTasks:
    """The largest margin that is as good as the best on past tasks: when in doubt, the default."""
    tried = [table.model_copy(update={"margin": margin}) for margin in MARGINS]
    found = [_checked(cells, columns, one)["auto"] for one in tried]
    print(dict(zip(MARGINS, found, strict=True)))
    return next(
        o for o, a in reversed(list(zip(tried, found, strict=True))) if a >= max(found) - SAME
    )


MARGINS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.2)
SAME = 0.0005
Columns = tuple[Array, Array, Array]
"""Held-out loss and accuracy, and true accuracy ``(T, C + 1)``."""


def _with_average(
    cells: Cells, cell: CellData, table: PastTasks, weights: tuple[Weights, ...]
) -> Columns:
    known = table.model_copy(update={"weights": weights})
    prior = _prior(known, cells.names[:-1], cell)
    scores = _scores(known, cell, prior, cell.loss, cell.accuracy)
    own = (cell.loss, cell.accuracy, cell.truth)
    new = cell.averaged(scores)
    return tuple(np.column_stack(pair) for pair in zip(own, new, strict=True))  # type: ignore[return-value]


def _cell(cell: CellData, truth: Array) -> Cell:
    return Cell(
        source=cell.source, shot=cell.shot, way=cell.way, tasks=len(truth),
        features=tuple(np.round(cell.features.mean(0), DIGITS).tolist()),
        accuracy=tuple(np.round(truth.mean(0), DIGITS).tolist()),
    )  # fmt: skip


def _prior(table: PastTasks, names: Sequence[str], cell: CellData) -> Array:
    features = torch.from_numpy(np.asarray(cell.features, dtype=np.float64))
    return np.asarray(table.expected(names, features, without=cell.source).numpy())


def _advantages(prior: Array, loss: Array, accuracy: Array, n: int) -> Array:
    """``(T, C, 3)``: what each thing known says above the mean of the first ``n`` candidates."""
    below = loss[:, :n].mean(1, keepdims=True) - loss
    above = accuracy - accuracy[:, :n].mean(1, keepdims=True)
    return np.asarray(np.nan_to_num(np.stack([prior, below, above], axis=-1)))


def _scores(table: PastTasks, cell: CellData, prior: Array, loss: Array, accuracy: Array) -> Array:
    """``(T, C)``: what is expected of each; of what was not measured, by past tasks alone."""
    own = table.weights_at(cell.shot)
    weights = np.array([own.prior, own.loss, own.accuracy])
    return np.asarray(_advantages(prior, loss, accuracy, cell.loss.shape[1]) @ weights)


def _fitted(cells: Cells, columns: Sequence[Columns], table: PastTasks) -> tuple[Weights, ...]:
    """At each number of images: non-negative least squares of true advantages on what was known."""
    found = []
    for shot in sorted({cell.shot for cell in cells.cells}):
        known, true = [], []
        for cell, (loss, accuracy, truth) in zip(cells.cells, columns, strict=True):
            if cell.shot != shot:
                continue
            prior = _prior(table, cells.names, cell)
            known.append(_advantages(prior, loss, accuracy, len(cell.loss[0])).reshape(-1, 3))
            true.append((truth - truth[:, :-1].mean(1, keepdims=True)).reshape(-1))
        x, y = np.concatenate(known), np.concatenate(true)
        spread = np.sqrt((x**2).mean(0)) + 1e-9
        caution = np.sqrt(CAUTION * len(x)) * np.eye(3)
        solved, _ = nnls(np.concatenate([x / spread, caution]), np.concatenate([y, np.zeros(3)]))
        prior_weight, loss_weight, accuracy_weight = (solved / spread).round(DIGITS).tolist()
        trusted = prior_weight if loss_weight or accuracy_weight else 1.0
        found.append(Weights(shot=shot, prior=trusted, loss=loss_weight, accuracy=accuracy_weight))
    return tuple(found)


def _checked(cells: Cells, columns: Sequence[Columns], table: PastTasks) -> dict[str, float]:
    """Mean accuracies, each source counting alike: the choice, and fixed candidates beside it."""
    chosen: dict[str, list[float]] = {}
    fixed: dict[str, list[Array]] = {}
    for cell, (loss, accuracy, truth) in zip(cells.cells, columns, strict=True):
        scores = _scores(table, cell, _prior(table, cells.names, cell), loss, accuracy)
        places = [_picked(own, table.margin) for own in scores]
        chosen.setdefault(cell.source, []).append(float(truth[range(len(truth)), places].mean()))
        fixed.setdefault(cell.source, []).append(truth.mean(0))
    by_source = np.array([np.mean(rows, axis=0) for rows in fixed.values()])
    best = int(by_source[:, :-1].mean(0).argmax())
    return {
        "auto": round(float(np.mean([np.mean(v) for v in chosen.values()])), DIGITS),
        "default": round(float(by_source[:, 0].mean()), DIGITS),
        "best fixed": round(float(by_source[:, best].mean()), DIGITS),
        "best fixed of each source": round(float(by_source[:, :-1].max(1).mean()), DIGITS),
        "average": round(float(by_source[:, -1].mean()), DIGITS),
    }


def _picked(scores: Array, margin: float) -> int:
    """The default, unless of the best more is expected; ties go to what is not the average."""
    best = int(scores.argmax())
    if margin and scores[0] >= scores[best] - margin:
        return 0
    alone = int(scores[:-1].argmax())
    return alone if scores[alone] >= scores[best] - TIE else best

"""What is measured on tasks, collected in whatever order they are answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medmeta.episodes.sampler import TaskDraw
from medmeta.evaluation.mask_metrics import mask_metrics, structure_metrics
from medmeta.evaluation.metrics import (
    CALIBRATION_BINS,
    answered_right,
    calibration_gaps,
    class_metrics,
    log_odds,
    softmax,
    value_metrics,
)


class Tally:
    """Per-task records of tasks ``0`` to ``n_tasks - 1``, and what is counted over all of them.

    ``class_names`` are the source's, empty for values. ``records`` are columns over tasks;
    ``confusion`` ``(K, K)`` counts true class (row) against answer. Of masks, ``structures`` holds
    by name what was measured in each task that asked for it; with ``distances``, of surfaces too.
    """

    def __init__(
        self, class_names: tuple[str, ...], n_tasks: int, *, distances: bool = False
    ) -> None:
        self.n_tasks = n_tasks
        self.distances = distances
        self.structures: dict[str, dict[str, list[float]]] = {}
        self.records: dict[str, NDArray[np.float64]] = {}
        self.confusion = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
        self._code = {name: i for i, name in enumerate(class_names)}
        self._gaps = np.zeros(CALIBRATION_BINS)
        self._answers = 0

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over all answers that are numbers; NaN where there is none."""
        return float(np.abs(self._gaps).sum() / self._answers) if self._answers else float("nan")

    def add(self, draws: Sequence[TaskDraw], shot: int, outputs: Tensor, labels: Tensor) -> None:
        """Measure tasks of one shape: ``outputs`` ``(T, Q, size)``, ``labels`` of the queries."""
        columns: dict[str, NDArray[np.float64]] = {
            "task": np.array([draw.task for draw in draws], dtype=np.float64),
            "n_way": np.full(len(draws), len(draws[0].classes), dtype=np.float64),
            "n_shot": np.full(len(draws), shot, dtype=np.float64),
        }
        masks = labels.ndim > 3
        answers = outputs.argmax(2) if masks else outputs.double()
        given, wanted = answers.cpu().numpy(), labels.cpu().numpy()
        if masks:
            columns |= mask_metrics(given, wanted, outputs.shape[2])
            self._count_structures(draws, given, wanted, outputs.shape[2])
        elif self._code:
            probabilities = softmax(given)
            columns |= class_metrics(probabilities, wanted, odds=log_odds(given))
            self._count(draws, probabilities, wanted)
        else:
            columns |= value_metrics(given, wanted.astype(np.float64))
        tasks = columns["task"].astype(np.int64)
        for name, column in columns.items():
            if name not in self.records:
                self.records[name] = np.full(self.n_tasks, np.nan)
            self.records[name][tasks] = column

    def _count_structures(
        self,
        draws: Sequence[TaskDraw],
        given: NDArray[np.int64],
        wanted: NDArray[np.int64],
        size: int,
    ) -> None:
        found = structure_metrics(given, wanted, size, distances=self.distances)
        for task, draw in enumerate(draws):
            for place, name in enumerate(draw.classes[1:]):
                held = self.structures.setdefault(name, {figure: [] for figure in found})
                for figure, values in found.items():
                    held[figure].append(float(values[task, place]))

    def _count(
        self,
        draws: Sequence[TaskDraw],
        probabilities: NDArray[np.float64],
        labels: NDArray[np.int64],
    ) -> None:
        codes = np.array([[self._code[name] for name in draw.classes] for draw in draws])
        confidence = probabilities.max(-1)
        known = ~np.isnan(confidence)
        true_codes = np.take_along_axis(codes, labels, 1)
        given_codes = np.take_along_axis(codes, probabilities.argmax(-1), 1)
        cells = true_codes[known] * len(self._code) + given_codes[known]
        np.add.at(self.confusion.reshape(-1), cells, 1)
        right = answered_right(probabilities, labels)
        self._gaps += calibration_gaps(confidence[known], right[known])
        self._answers += int(known.sum())

"""Any learner on any source by a protocol: per-task records, and summaries of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.loader import EpisodeLoader, View, embedding_view, pixel_view
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskDraw, TaskSampler
from medmeta.errors import SettingsError
from medmeta.evaluation.intervals import Summary, summarise
from medmeta.evaluation.metrics import (
    HIGHER_IS_BETTER,
    answered_right,
    calibration_error,
    class_metrics,
    softmax,
    value_metrics,
)
from medmeta.learner import AbstractLearner, HeadedLearner, check_task_fits

ENCODE_BATCH = 256
Progressed = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one source by one protocol.

    ``records`` are columns over tasks; ``confusion`` ``(K, K)`` counts true class (row) against
    answer over all tasks' queries, classes as in ``class_names`` (empty for values);
    ``calibration_error`` is pooled over all queries. Both leave out answers that are no numbers.
    """

    source: str
    protocol: Protocol
    records: dict[str, NDArray[np.float64]]
    summary: dict[str, Summary]
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    calibration_error: float
    dropped: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the per-task records."""
        error = self.calibration_error
        return {
            "source": self.source,
            "protocol": self.protocol.model_dump(mode="json"),
            "protocol_digest": self.protocol.digest(),
            "summary": {name: s.to_dict() for name, s in self.summary.items()},
            "class_names": list(self.class_names),
            "confusion": self.confusion.tolist(),
            "calibration_error": None if error != error else error,
            "dropped": self.dropped,
        }

    def records_csv(self) -> str:
        """The per-task records as a table."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.records)
        for row in zip(*self.records.values(), strict=True):
            writer.writerow([f"{v:.8g}" for v in row])
        return text.getvalue()


def evaluate(
    learner: AbstractLearner,
    source: Source,
    protocol: Protocol,
    *,
    device: torch.device | str = "cpu",
    progress: Progressed | None = None,
) -> Evaluation:
    """Measure a learner on ``protocol.episodes`` tasks of a source.

    A learner with a head encodes each image of the source once. Raises ``SettingsError`` for a
    protocol without end, ``SamplingError`` where the source cannot give such tasks,
    ``UnsupportedTaskError`` where the learner does not take them.
    """
    if protocol.episodes < 1:
        raise SettingsError("say on how many tasks to evaluate: the protocol's episodes is 0.")
    sampler = TaskSampler([source], protocol)
    largest = Target(protocol.kind, protocol.n_way[1] if protocol.kind == "classes" else 1)
    check_task_fits(learner, largest)
    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        with torch.no_grad():
            solver, view = _solver_and_view(learner, source, device)
            loader = EpisodeLoader(sampler, [view], device=device)
            return _measured(solver, source, loader, progress)
    finally:
        for module, training in modes.items():  # a part may have been frozen by itself
            module.training = training


def _solver_and_view(
    learner: AbstractLearner, source: Source, device: torch.device | str
) -> tuple[AbstractLearner, View]:
    """The head over embeddings made once, or the learner itself over pixels."""
    pixels = pixel_view(source, device)
    if not learner.traits.has_head:
        return learner, pixels
    headed = cast(HeadedLearner, learner)
    if headed.traits.transductive:
        return learner, pixels  # its encoder may normalise by the batch: images are not apart
    return headed.head, embedding_view(encode_source(headed, source, pixels))


def encode_source(learner: HeadedLearner, source: Source, view: View) -> Tensor:
    """Embeddings ``(n, D)`` of all images of a source, in batches."""
    parts = [
        learner.encode(view(np.arange(first, min(first + ENCODE_BATCH, len(source))))[None])[0]
        for first in range(0, len(source), ENCODE_BATCH)
    ]
    return torch.cat(parts)


def _measured(
    solver: AbstractLearner, source: Source, loader: EpisodeLoader, progress: Progressed | None
) -> Evaluation:
    protocol = loader.sampler.protocol
    names = source.index.class_names if protocol.kind == "classes" else ()
    tally = _Tally(names)
    for batch, first in enumerate(range(0, protocol.episodes, protocol.tasks_per_batch)):
        n_tasks = min(protocol.tasks_per_batch, protocol.episodes - first)
        target, shot = loader.sampler.shape(batch)
        draws = loader.draws(batch, n_tasks)
        episode = loader.fill(draws, target)
        outputs = solver.adapt(episode.support, target)(episode.query.inputs)
        tally.add(draws, shot, outputs.double().cpu().numpy(), episode.query.labels.cpu().numpy())
        if progress is not None:
            progress(first + n_tasks, protocol.episodes)
    return tally.evaluation(source.name, protocol, loader.sampler.dropped.get(source.name, {}))


class _Tally:
    """Collects what is measured batch by batch."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.names = class_names
        self.code = {name: i for i, name in enumerate(class_names)}
        self.records: dict[str, list[NDArray[np.float64]]] = {}
        self.confusion = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
        self.confidence: list[NDArray[np.float64]] = []
        self.right: list[NDArray[np.bool_]] = []

    def add(
        self,
        draws: list[TaskDraw],
        shot: int,
        outputs: NDArray[np.float64],
        labels: NDArray[Any],
    ) -> None:
        columns: dict[str, NDArray[np.float64]] = {
            "task": np.array([draw.task for draw in draws], dtype=np.float64),
            "n_way": np.full(len(draws), len(draws[0].classes), dtype=np.float64),
            "n_shot": np.full(len(draws), shot, dtype=np.float64),
        }
        if self.names:
            probabilities = softmax(outputs)
            columns |= class_metrics(probabilities, labels)
            answers = probabilities.argmax(-1)
            codes = np.array([[self.code[name] for name in draw.classes] for draw in draws])
            confidence = probabilities.max(-1)
            known = ~np.isnan(confidence)
            true_codes = np.take_along_axis(codes, labels, 1)
            given_codes = np.take_along_axis(codes, answers, 1)
            np.add.at(self.confusion, (true_codes[known], given_codes[known]), 1)
            self.confidence.append(confidence[known])
            self.right.append(answered_right(probabilities, labels)[known])
        else:
            columns |= value_metrics(outputs, labels.astype(np.float64))
        for name, column in columns.items():
            self.records.setdefault(name, []).append(column)

    def evaluation(self, source: str, protocol: Protocol, dropped: dict[str, int]) -> Evaluation:
        records = {name: np.concatenate(parts) for name, parts in self.records.items()}
        error = float("nan")
        if self.confidence:
            error = calibration_error(np.concatenate(self.confidence), np.concatenate(self.right))
        return Evaluation(
            source=source,
            protocol=protocol,
            records=records,
            summary={
                name: summarise(records[name], higher_is_better=better)
                for name, better in HIGHER_IS_BETTER.items()
                if name in records
            },
            class_names=self.names,
            confusion=self.confusion,
            calibration_error=error,
            dropped=dropped,
        )

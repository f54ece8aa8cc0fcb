"""Any learner on any source by a protocol: per-task records, and summaries of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episode import Target
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SettingsError
from medmeta.evaluation.answers import Answers, from_embeddings, from_images
from medmeta.evaluation.encoded import EncodedSource, Progressed, encodes_apart
from medmeta.evaluation.intervals import Summary, summarise, within_bounds
from medmeta.evaluation.metrics import HIGHER_IS_BETTER
from medmeta.evaluation.tally import Tally
from medmeta.learner import AbstractLearner, HeadedLearner, check_task_fits
from medmeta.modes import answering


@dataclass(frozen=True)
class Evaluation:
    """What was measured on one source by one protocol.

    ``records`` are columns over tasks; ``confusion`` ``(K, K)`` counts true class (row) against
    answer over all tasks' queries, classes as in ``class_names`` (empty for values);
    ``calibration_error`` is pooled over all queries. Both leave out answers that are no numbers.
    ``structures``: of masks, figures by structure over the tasks that asked for it.
    """

    source: str
    protocol: Protocol
    records: dict[str, NDArray[np.float64]]
    summary: dict[str, Summary]
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    calibration_error: float
    dropped: dict[str, int]
    structures: Mapping[str, Mapping[str, Summary]] = field(default_factory=dict)

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
            "structures": {
                structure: {name: s.to_dict() for name, s in found.items()}
                for structure, found in self.structures.items()
            },
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
    encoded: EncodedSource | None = None,
    distances: bool = False,
    progress: Progressed | None = None,
) -> Evaluation:
    """Measure a learner on ``protocol.episodes`` tasks of a source.

    A learner with a head encodes each image that the tasks use once (as far as memory is kept for
    them). ``encoded`` are the source's embeddings of an earlier call, by the same encoder: for
    another protocol or another head. ``distances``: of masks, also how far their surfaces are
    apart, and centre lines. Whether queries helped each other stands in the result's protocol as
    the learner's traits have it, whatever was asked for. Raises ``SettingsError`` for a
    protocol without end or embeddings of another source, ``SamplingError`` where the source cannot
    give such tasks, ``UnsupportedTaskError`` where the learner does not take them.
    """
    protocol = protocol.model_copy(update={"transductive": learner.traits.transductive})
    _check_ends(protocol)
    sampler = TaskSampler([source], protocol)
    return evaluate_drawn(
        learner, sampler, device=device, encoded=encoded, distances=distances, progress=progress
    )


def evaluate_drawn(
    learner: AbstractLearner,
    sampler: TaskSampler,
    *,
    device: torch.device | str = "cpu",
    encoded: EncodedSource | None = None,
    distances: bool = False,
    progress: Progressed | None = None,
) -> Evaluation:
    """Measure a learner on the tasks of a sampler with one source, as ``evaluate`` does.

    ``encoded`` are embeddings of the sampler's own source.
    """
    protocol, source = sampler.protocol, sampler.sources[0]
    _check_ends(protocol)
    if encoded is not None and encoded.source is not source:
        raise SettingsError(
            f"these embeddings are of {encoded.source.name}, and the tasks of {source.name}; make "
            "an EncodedSource of the source that is evaluated."
        )
    largest = Target(protocol.kind, 1 if protocol.kind == "values" else protocol.n_way[1])
    check_task_fits(learner, largest)
    answers: Iterator[Answers]
    with answering(learner):
        if encodes_apart(learner):
            headed = cast(HeadedLearner, learner)
            held = encoded or EncodedSource(headed, source, device=device)
            answers = from_embeddings(headed.head, sampler, held)
        else:
            answers = from_images(learner, sampler, device)
        return _measured(answers, source, sampler, progress, distances=distances)


def _check_ends(protocol: Protocol) -> None:
    if protocol.episodes < 1:
        raise SettingsError("say on how many tasks to evaluate: the protocol's episodes is 0.")


def _measured(
    answers: Iterator[Answers],
    source: Source,
    sampler: TaskSampler,
    progress: Progressed | None,
    *,
    distances: bool,
) -> Evaluation:
    protocol = sampler.protocol
    names = source.index.class_names if protocol.kind == "classes" else ()
    tally, done = Tally(names, protocol.episodes, distances=distances), 0
    for part in answers:
        tally.add(part.draws, part.n_shot, part.outputs, part.labels)
        done += len(part.draws)
        if progress is not None:
            progress(done, protocol.episodes)
    return Evaluation(
        source=source.name,
        protocol=protocol,
        records=tally.records,
        summary=_summaries(tally.records),
        class_names=names,
        confusion=tally.confusion,
        calibration_error=tally.calibration_error,
        dropped=sampler.dropped.get(source.name, {}),
        structures={
            structure: _summaries({name: np.array(values) for name, values in held.items()})
            for structure, held in sorted(tally.structures.items())
        },
    )


def _summaries(records: Mapping[str, NDArray[np.float64]]) -> dict[str, Summary]:
    """Of each metric, whose interval holds nothing impossible: no accuracy is above 1."""
    found = {
        name: summarise(records[name], higher_is_better=better)
        for name, better in HIGHER_IS_BETTER.items()
        if name in records
    }
    return within_bounds(found)

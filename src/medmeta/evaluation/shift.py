"""How much worse a learner is on images from elsewhere, or on worse images: paired by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medmeta.data.distortions import SEVERITIES, Distortion
from medmeta.data.index import Column
from medmeta.data.source import Source
from medmeta.data.versions import SourceVersions
from medmeta.data.withheld import parts_of, without
from medmeta.episodes.altered_query import AlteredQuery
from medmeta.episodes.left_out_group import LeftOutGroup, Support
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskSampler
from medmeta.errors import SamplingError
from medmeta.evaluation.encoded import EncodedSource, encodes_apart
from medmeta.evaluation.evaluate import Evaluation, evaluate_drawn
from medmeta.evaluation.intervals import Difference, paired_difference
from medmeta.learner import AbstractLearner, HeadedLearner

Records = NDArray[np.float64]
Told = Callable[[str], None]
PARTS = "parts"
"""In place of a kind of image: what is measured is what each part of the input is worth."""


@dataclass(frozen=True)
class ShiftedGroup:
    """One group's tasks, with a support from inside it and from outside of it.

    ``difference`` is outside less inside, of the main figure.
    """

    name: str
    images: int
    inside: Evaluation
    outside: Evaluation
    difference: Difference


@dataclass(frozen=True)
class Shift:
    """All groups of a column. ``left_out``: those that cannot give such tasks, with the reason.

    ``difference`` is over the tasks of all groups, which have equally many; ``unknown`` images
    have no group.
    """

    source: str
    column: str
    protocol: Protocol
    groups: tuple[ShiftedGroup, ...]
    left_out: Mapping[str, str]
    unknown: int
    difference: Difference


@dataclass(frozen=True)
class Worsened:
    """The same tasks with a query made worse; ``difference`` is worse less clean."""

    distortion: str
    severity: int
    level: float
    worse: Evaluation
    difference: Difference


@dataclass(frozen=True)
class QualityShift:
    """A learner's tasks as they are, and with each fault at each severity in their query."""

    source: str
    kind: str
    protocol: Protocol
    clean: Evaluation
    worsened: tuple[Worsened, ...]


def main_figure(evaluation: Evaluation) -> str:
    """The figure that stands first: accuracy, or R² for values."""
    return "accuracy" if "accuracy" in evaluation.summary else "r_squared"


def evaluate_groups(
    learner: AbstractLearner,
    source: Source,
    protocol: Protocol,
    column: str,
    *,
    encoded: EncodedSource | None = None,
    told: Told | None = None,
) -> Shift:
    """Leave out each group of a column in turn: support from the others against from itself.

    Every group is measured on ``protocol.episodes`` tasks, each answered twice. Raises
    ``SamplingError`` where no group can give such tasks, and says why of each.
    """
    groups = source.index.column(column)
    samplers, left_out = _samplers(source, protocol, groups, column, learner)
    if not samplers:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise SamplingError(
            f"{source.name}: no group of the column {column} can be left out. {reasons or _NONE}"
        )
    encoded = encoded or _encoded(learner, source)
    found = []
    for name, pair in samplers.items():
        if told is not None:
            told(f"{column} {name}")
        inside, outside = (evaluate_drawn(learner, s, encoded=encoded) for s in pair)
        gap = paired_difference(*(_main(e) for e in (outside, inside)))
        images = int((groups.codes == groups.names.index(name)).sum())
        found.append(ShiftedGroup(name, images, inside, outside, gap))
    overall = paired_difference(
        np.concatenate([_main(g.outside) for g in found]),
        np.concatenate([_main(g.inside) for g in found]),
    )
    unknown = int((groups.codes < 0).sum())
    return Shift(source.name, column, protocol, tuple(found), left_out, unknown, overall)


_NONE = "No image has an entry there."


def _samplers(
    source: Source, protocol: Protocol, groups: Column, column: str, learner: AbstractLearner
) -> tuple[dict[str, list[LeftOutGroup]], dict[str, str]]:
    """Two samplers of each group that can be left out, and why not of the others."""
    able: dict[str, list[LeftOutGroup]] = {}
    left_out: dict[str, str] = {}
    for code in np.unique(groups.codes[groups.codes >= 0]).tolist():
        name = groups.names[code]
        try:
            able[name] = [
                LeftOutGroup(
                    source,
                    protocol.model_copy(
                        update={
                            "shift": f"{column} {name}, support from {side.value}",
                            "transductive": learner.traits.transductive,
                        }
                    ),
                    groups,
                    name,
                    support=side,
                )
                for side in Support
            ]
        except SamplingError as error:
            left_out[name] = str(error).removeprefix(f"{source.name}: ")
    return able, left_out


def evaluate_quality(
    learner: AbstractLearner,
    source: Source,
    protocol: Protocol,
    distortions: Sequence[Distortion],
    *,
    kind: str = "unknown",
    encoded: EncodedSource | None = None,
    told: Told | None = None,
) -> QualityShift:
    """Measure the same tasks with their query worsened by each fault, at five severities.

    ``encoded`` are embeddings of ``versions_of(source, distortions)``. Support stays as it is.
    """
    versions = versions_of(source, distortions) if encoded is None else encoded.source
    assert isinstance(versions, SourceVersions)
    encoded = encoded or _encoded(learner, versions)

    def measured(version: int, words: str) -> Evaluation:
        shifted = {"shift": words, "transductive": learner.traits.transductive}
        asked = protocol.model_copy(update=shifted)
        sampler = AlteredQuery(source, versions, asked, version=version)
        return evaluate_drawn(learner, sampler, encoded=encoded)

    clean = measured(0, "query as it is")
    worsened = []
    for number, distortion in enumerate(distortions):
        if told is not None:
            told(distortion.name)
        for severity in range(1, SEVERITIES + 1):
            words = f"query with {distortion.name}, severity {severity}"
            worse = measured(number * SEVERITIES + severity, words)
            gap = paired_difference(_main(worse), _main(clean))
            level = distortion.levels[severity - 1]
            worsened.append(Worsened(distortion.name, severity, level, worse, gap))
    return QualityShift(source.name, kind, protocol, clean, tuple(worsened))


def evaluate_parts(
    learner: AbstractLearner,
    source: Source,
    protocol: Protocol,
    *,
    modalities: Sequence[str] = (),
    told: Told | None = None,
) -> QualityShift:
    """Measure the same tasks without each part of what is known: the image, the record, a modality.

    The part is withheld from support and query alike; ``modalities`` are the source's by name.
    Raises ``SamplingError`` for a source that has but one part.
    """
    parts = parts_of(source, modalities)
    if len(parts) < 2:
        raise SamplingError(
            f"{source.name}: there is one kind of input only, so nothing can be withheld; this is "
            "for runs trained with --record or --modalities."
        )

    def measured(shown: Source, words: str) -> Evaluation:
        shifted = {"shift": words, "transductive": learner.traits.transductive}
        sampler = TaskSampler([shown], protocol.model_copy(update=shifted))
        return evaluate_drawn(learner, sampler, encoded=_encoded(learner, shown))

    whole = measured(source, "all that is known")
    withheld = []
    for part in parts:
        if told is not None:
            told(f"without {part}")
        left = measured(without(source, part, modalities), f"without {part}")
        gap = paired_difference(_main(left), _main(whole))
        withheld.append(Worsened(f"without {part}", 1, 1.0, left, gap))
    return QualityShift(source.name, PARTS, protocol, whole, tuple(withheld))


def versions_of(source: Source, distortions: Sequence[Distortion]) -> SourceVersions:
    """The source with each fault at each severity, fault after fault."""
    alterations = [d.at(severity) for d in distortions for severity in range(1, SEVERITIES + 1)]
    return SourceVersions.of(source, alterations)


def _encoded(learner: AbstractLearner, source: Source) -> EncodedSource | None:
    if not encodes_apart(learner):
        return None
    return EncodedSource(cast(HeadedLearner, learner), source)


def _main(evaluation: Evaluation) -> Records:
    return evaluation.records[main_figure(evaluation)]


def difference_as_json(gap: Difference) -> dict[str, Any]:
    """A paired difference as JSON: what is not defined is null."""
    told = {name: getattr(gap, name) for name in ("mean", "low", "high", "first_better")}
    return {**{k: None if v != v else v for k, v in told.items()}, "tasks": gap.tasks}

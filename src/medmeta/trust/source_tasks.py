"""What tasks with known answers teach about trust: the prior that a run keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.data.source import Source
from medmeta.episodes.loader import EpisodeLoader
from medmeta.episodes.protocol import Protocol
from medmeta.episodes.sampler import TaskDraw, TaskSampler
from medmeta.errors import SamplingError
from medmeta.evaluation.encoded import EncodedSource, encodes_apart
from medmeta.learner import AbstractLearner, AdaptedTask, HeadedLearner
from medmeta.modes import answering
from medmeta.trust.calibration import LEAST_SPREAD, fit_calibration
from medmeta.trust.held_out import affordable_folds, held_out_outputs, is_cheap
from medmeta.trust.prior import TrustPrior

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
TASKS = 60
REPEATS = 3
TOGETHER = 20
MOST_PRECISION = 0.8  # source tasks are easier than a new one, and held-out answers more alike
SHOTS = (5, 10)
N_QUERY = 15
_NO_PRIOR = TrustPrior(log_temperature=0.0, temperature_spread=20.0)


@dataclass(frozen=True)
class AskedTask:
    """A task adapted to embeddings, and the answers to its query: logits ``(Q, K)`` and labels."""

    draw: TaskDraw
    task: AdaptedTask
    logits: Array
    labels: Numbers


@dataclass(frozen=True)
class Lesson:
    """One source task: wrong answers held out and in truth, of how many images, at what shots."""

    source: str
    held_out: float
    truth: float
    images: int
    asked: int
    learned_from: float
    log_temperature: float


def asked_tasks(
    learner: HeadedLearner,
    sampler: TaskSampler,
    encoded: EncodedSource,
    *,
    together: int = TOGETHER,
) -> Iterator[AskedTask]:
    """All tasks of a sampler with one source and one shape, adapted and asked on embeddings.

    So many ``together``; one at a time where a head is dear, so that none is adapted twice.
    """
    target, _ = sampler.shape(0)
    loader = EpisodeLoader(sampler, [encoded.of], device=encoded.device)
    with answering(learner):
        for first in range(0, sampler.protocol.episodes, together):
            last = min(first + together, sampler.protocol.episodes)
            draws = [sampler.draw(i) for i in range(first, last)]
            rows = [np.concatenate([d.support_rows, d.query_rows]) for d in draws]
            encoded.hold(np.concatenate(rows))
            episode = loader.fill(draws, target)
            predictor = learner.head.adapt(episode.support, target)
            logits = predictor(episode.query.inputs).cpu().numpy().astype(np.float64)
            for i, draw in enumerate(draws):
                support = episode.support.tasks(i, i + 1)
                embeddings = support.inputs
                assert isinstance(embeddings, torch.Tensor)
                task = AdaptedTask(
                    learner,
                    support,
                    target,
                    predictor,
                    embeddings,
                    predictor if len(draws) == 1 else learner.head.adapt(support, target),
                )
                yield AskedTask(draw, task, logits[i], draw.query_labels)


def source_sampler(
    source: Source, *, shot: int, way: int, tasks: int, seed: int, n_query: int = N_QUERY
) -> TaskSampler:
    """Tasks of one source for lessons; raises ``SamplingError`` where it cannot give them."""
    protocol = Protocol(
        sources=(source.name,),
        n_way=(way, way),
        n_shot=(shot, shot),
        n_query=n_query,
        episodes=tasks,
        tasks_per_batch=1,
        drop_small_classes=True,
        seed=seed,
    )
    return TaskSampler([source], protocol)


def learn_prior(
    learner: AbstractLearner,
    sources: Sequence[Source],
    *,
    most_way: int = 5,
    tasks: int = TASKS,
    seed: int = 0,
) -> TrustPrior | None:
    """The prior by tasks of sources, at 5 and 10 shots; None where they cannot give such tasks.

    Only for learners whose images are encoded apart and whose head is batched: for others it would
    cost more than the training.
    """
    if not encodes_apart(learner) or not isinstance(learner, HeadedLearner):
        return None
    found: list[Lesson] = []
    able = [s for s in sources if s.index.labels is not None]
    for source in able:
        encoded = EncodedSource(learner, source, device=_device_of(learner))
        each = max(4, tasks // (len(able) * len(SHOTS)))
        for shot in SHOTS:
            found += lessons(encoded, shot=shot, most_way=most_way, tasks=each, seed=seed)
    return prior_from(found) if found else None


def lessons(
    encoded: EncodedSource,
    *,
    shot: int,
    most_way: int = 5,
    tasks: int,
    seed: int = 0,
    n_query: int = N_QUERY,
    dear: bool = False,
) -> list[Lesson]:
    """What tasks of one source teach, of as many classes as it can give; none where it cannot.

    ``dear``: also by a head that takes each fold by itself.
    """
    learner = encoded.learner
    sampler = widest_sampler(
        encoded.source, shot=shot, most_way=most_way, tasks=tasks, seed=seed, n_query=n_query
    )
    if sampler is None or not (dear or learner.head.traits.differentiable):
        return []
    asked = asked_tasks(learner, sampler, encoded, together=1 if dear else TOGETHER)
    return [lesson(one, encoded.source) for one in asked]


def widest_sampler(
    source: Source,
    *,
    shot: int,
    most_way: int | None = None,
    tasks: int,
    seed: int,
    n_query: int = N_QUERY,
) -> TaskSampler | None:
    """Tasks of as many classes as the source can give, or ``most_way``; None for less than two."""
    classes = len(source.index.class_names)
    for way in range(classes if most_way is None else min(most_way, classes), 1, -1):
        try:
            return source_sampler(
                source, shot=shot, way=way, tasks=tasks, seed=seed, n_query=n_query
            )
        except SamplingError:
            continue
    return None


def lesson(asked: AskedTask, source: Source) -> Lesson:
    """What one task with known answers teaches."""
    labels, groups = asked.draw.support_labels, source.groups[asked.draw.support_rows]
    repeats = REPEATS if is_cheap(asked.task) else None
    folds = affordable_folds(asked.task, groups, repeats=repeats, seed=asked.draw.task)
    held = held_out_outputs(asked.task, folds)
    right = held.argmax(-1) == labels
    temperature, _ = fit_calibration(asked.logits[None], asked.labels, _NO_PRIOR, with_bias=False)
    return Lesson(
        source.name,
        float(1 - right.mean()),
        float((asked.logits.argmax(1) != asked.labels).mean()),
        len(labels),
        len(asked.labels),
        1 - 1 / len(np.unique(folds[0])),
        float(np.log(temperature)),
    )


def prior_from(
    lessons: Sequence[Lesson], *, exponents: Sequence[float] | None = None
) -> TrustPrior:
    """Source by source, so that one with many tasks does not decide alone.

    Of temperatures the median counts, but not less than 1: an encoder is no surer of classes that
    it did not learn from. The exponent is that by which held-out errors become the true ones in
    the mean; the precision is one over the mean square of what is left, in units of a share's own
    standard error (what comes from the finite query taken off). ``exponents``: those of sources,
    where they were measured in another way.
    """
    ordered = sorted(lessons, key=lambda one: one.source)
    by_source = [list(g) for _, g in groupby(ordered, key=lambda one: one.source)]
    found = [_exponent(part) for part in by_source] if exponents is None else exponents
    known = [e for e in found if e is not None]
    exponent = float(np.clip(np.mean(known), 0.0, 1.0)) if known else 0.0
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else 0.2
    squares = []
    for one in lessons:
        truth = min(max(one.truth, 0.02), 0.98)
        gap = one.held_out * one.learned_from**exponent - one.truth
        square = gap**2 - truth * (1 - truth) / one.asked
        squares.append(square / (truth * (1 - truth) / one.images))
    precision = 1 / max(float(np.mean(squares)), 1e-9)
    logs = np.array([np.median([one.log_temperature for one in part]) for part in by_source])
    apart = float(np.std(logs, ddof=1)) if len(logs) > 1 else LEAST_SPREAD
    return TrustPrior(
        exponent=exponent,
        exponent_spread=float(np.clip(spread, 0.05, 0.3)),
        precision=float(np.clip(precision, 0.4, MOST_PRECISION)),
        log_temperature=max(0.0, float(np.median(logs))),
        temperature_spread=min(apart, 1.0),
        tasks=len(lessons),
        sources=len(by_source),
    )


def _exponent(part: Sequence[Lesson]) -> float | None:
    """The power by which one source's held-out errors become the true ones; None without errors."""
    held, truth = (float(np.sum([getattr(o, n) for o in part])) for n in ("held_out", "truth"))
    if held <= 0 or truth <= 0:
        return None
    learned_from = float(np.mean([one.learned_from for one in part]))
    return float(np.clip(np.log(truth / held) / np.log(learned_from), -0.5, 2.0))


def _device_of(learner: AbstractLearner) -> torch.device:
    return next((p.device for p in learner.parameters()), torch.device("cpu"))

"""Measuring what trust says of a task against what is true of it, on sources with known answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from medmeta.data.preprocess import as_float
from medmeta.data.source import Source
from medmeta.evaluation.encoded import EncodedSource
from medmeta.evaluation.intervals import summarise
from medmeta.evaluation.metrics import calibration_error, softmax
from medmeta.learner import HeadedLearner
from medmeta.trust.calibration import calibrated, fit_calibration
from medmeta.trust.conformal import margins, own_scores
from medmeta.trust.estimate import estimate
from medmeta.trust.fewer_labels import measured_labels, support_exponent
from medmeta.trust.folds import draw_folds, number_of_folds
from medmeta.trust.held_out import held_out_outputs
from medmeta.trust.looks import grey_levels
from medmeta.trust.novelty import Detector, Novelty, Seen, held_out_scores, judge, novelty_rule
from medmeta.trust.prior import TrustPrior
from medmeta.trust.results import SetRule
from medmeta.trust.set_rules import SetMaker
from medmeta.trust.source_tasks import TOGETHER, AskedTask, asked_tasks, widest_sampler

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
REPEATS = 10
LEVEL = 0.9
MOST_ASKED = 24  # images of another source that novelty is asked about, per task


_HELD: dict[tuple[str, int, int], tuple[Numbers, Array]] = {}  # for all parts, once


@dataclass(frozen=True)
class Found:
    """A figure with its 95 % interval over tasks."""

    value: float
    low: float
    high: float


class Sources:
    """Test sources with the embeddings of all their images, each made once."""

    def __init__(self, learner: HeadedLearner, sources: dict[str, Source]) -> None:
        self.learner, self.sources = learner, sources
        self.encoded = {}
        for name, source in sources.items():
            held = EncodedSource(learner, source, budget=2**30)
            held.hold(np.arange(len(source)))
            self.encoded[name] = held

    def embeddings(self, name: str, rows: Numbers) -> torch.Tensor:
        """``(1, n, D)``."""
        return self.encoded[name].of(rows)[None]

    def pixels(self, name: str, rows: Numbers) -> NDArray[np.float32]:
        """Grey levels ``(n, C, H, W)``."""
        return self.sources[name].gather(rows).astype(np.float32)

    def tasks(
        self,
        name: str,
        shot: int,
        n: int,
        seed: int,
        *,
        most_way: int | None = None,
        together: int = TOGETHER,
    ) -> Iterator[AskedTask]:
        """``n`` tasks of all classes of a source that are large enough, or of ``most_way``."""
        source = self.sources[name]
        sampler = widest_sampler(source, shot=shot, most_way=most_way, tasks=n, seed=seed)
        if sampler is not None:
            yield from asked_tasks(self.learner, sampler, self.encoded[name], together=together)


def fresh(asked: AskedTask, source: Source) -> tuple[Numbers, Numbers]:
    """All images of the task's classes that share no group with its support, and their labels."""
    index = source.index
    assert index.labels is not None
    used = source.groups[asked.draw.support_rows]
    numbers = {index.labels.names.index(c): i for i, c in enumerate(asked.draw.classes)}
    labels = np.array([numbers.get(int(c), -1) for c in index.labels.codes])
    rows = np.flatnonzero((labels >= 0) & ~np.isin(source.groups, used))
    return rows, labels[rows]


def held_out(asked: AskedTask, source: Source) -> tuple[Numbers, Array]:
    """Folds ``(R, n)`` of a task's support, and the logits held out in them."""
    labels, groups = asked.draw.support_labels, source.groups[asked.draw.support_rows]
    known = _HELD.get((source.name, asked.draw.task, len(labels)))
    if known is not None:
        return known
    folds = draw_folds(
        labels, groups, n_folds=number_of_folds(labels, groups), repeats=REPEATS,
        seed=asked.draw.task,
    )  # fmt: skip
    found = folds, held_out_outputs(asked.task, folds).astype(np.float64)
    _HELD[source.name, asked.draw.task, len(labels)] = found
    return found


def estimates(tasks: list[AskedTask], data: Sources, name: str, prior: TrustPrior) -> Array:
    """``(T, 4)``: the estimated accuracy with its limits, and the true one on all fresh images.

    The true one counts every class alike, as the support does.
    """
    source, found = data.sources[name], []
    for asked in tasks:
        folds, logits = held_out(asked, source)
        labels = asked.draw.support_labels
        curve = measured_labels(asked.task, labels, source.groups[asked.draw.support_rows])
        wrong = float((logits.argmax(-1) != labels).mean())
        n_folds = len(np.unique(folds[0]))
        learned_from = (1 - 1 / n_folds) * len(labels) / len(asked.draw.classes)
        told = estimate(
            logits, labels, source.groups[asked.draw.support_rows], folds,
            names=asked.draw.classes, prior=prior, patients_known=False,
            exponent=support_exponent(curve, wrong, learned_from, prior),
        ).figures["accuracy"]  # fmt: skip
        rows, truth = fresh(asked, source)
        assert asked.task.head_predictor is not None
        with torch.no_grad():
            answers = asked.task.head_predictor(data.embeddings(name, rows))[0].argmax(1).numpy()
        recalls = [(answers == k)[truth == k].mean() for k in np.unique(truth)]
        found.append([told.value, told.low, told.high, np.mean(recalls)])
    return np.array(found, dtype=np.float64)


def probabilities(
    tasks: list[AskedTask], source: Source, prior: TrustPrior
) -> tuple[Array, Array, Array, Array]:
    """Confidence and right answers ``(T, Q)``, before and after calibration."""
    before, after = [], []
    for asked in tasks:
        _, logits = held_out(asked, source)
        t, bias = fit_calibration(logits, asked.draw.support_labels, prior)
        before.append(softmax(asked.logits))
        after.append(calibrated(asked.logits, t, bias))
    labels = np.stack([asked.labels for asked in tasks])
    parts = [np.stack(p) for p in (before, after)]
    right = [(p.argmax(-1) == labels).astype(np.float64) for p in parts]
    return parts[0].max(-1), right[0], parts[1].max(-1), right[1]


def pooled_error(confidence: Array, right: Array) -> Found:
    """Calibration error of all tasks' answers together; tasks are resampled for its interval."""

    def error(numbers: Numbers) -> float:
        rows = numbers.astype(int)
        return calibration_error(confidence[rows].ravel(), right[rows].ravel() > 0.5)

    numbers = np.arange(len(confidence))
    resampled = bootstrap(
        (numbers,), error, vectorized=False, n_resamples=200, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    value = error(numbers)  # resampling adds to an error that is near 0, so the value may lie below
    return Found(value, min(value, float(resampled.low)), float(resampled.high))


def coverages(tasks: list[AskedTask], data: Sources, name: str, *, per_class: bool) -> Array:
    """``(T, 2)``: share of queries whose 90 % set holds the true class, and the mean set size."""
    source, found = data.sources[name], []
    for asked in tasks:
        folds, logits = held_out(asked, source)
        own = own_scores(margins(logits[0]), asked.draw.support_labels)
        rule = SetRule(tuple(folds[0].tolist()), tuple(own.tolist()), ())
        query = data.embeddings(name, asked.draw.query_rows)
        inside = SetMaker(asked.task, rule, level=LEVEL, per_class=per_class).sets(query)
        holds = inside[np.arange(len(asked.labels)), asked.labels]
        found.append([holds.mean(), inside.sum(1).mean()])
    return np.array(found, dtype=np.float64)


def mean_of(values: Array) -> Found:
    """The mean over tasks."""
    summary = summarise(values)
    return Found(summary.mean, summary.low, summary.high)


class NoveltyAsked:
    """Novelty of one task's queries, and of whatever else is asked of it."""

    def __init__(self, asked: AskedTask, data: Sources, name: str) -> None:
        source = data.sources[name]
        self.data, self.asked, self.name = data, asked, name
        folds, logits = held_out(asked, source)
        self.labels = asked.draw.support_labels
        self.temperature, _ = fit_calibration(logits, self.labels, TrustPrior())
        rows = asked.draw.support_rows
        embeddings = cast(torch.Tensor, asked.task.support_embeddings)[0].numpy().astype(float)
        self.support = Seen(embeddings, logits[0], data.pixels(name, rows))
        scores = held_out_scores(self.support, self.labels, folds[0], temperature=self.temperature)
        rule = novelty_rule(scores)
        assert rule is not None
        self.rule = rule
        self.detector = Detector(self.support, self.labels, temperature=self.temperature)

    def of(self, embeddings: torch.Tensor, pixels: NDArray[np.float32]) -> Novelty:
        """Images by their embeddings ``(1, n, D)`` and grey levels."""
        assert self.asked.task.head_predictor is not None
        with torch.no_grad():
            logits = self.asked.task.head_predictor(embeddings)[0].numpy().astype(float)
        seen = Seen(embeddings[0].numpy().astype(float), logits, pixels)
        return judge(self.rule, self.detector, seen)

    def of_rows(self, name: str, rows: Numbers) -> Novelty:
        """Images of a source."""
        return self.of(self.data.embeddings(name, rows), self.data.pixels(name, rows))

    def of_pixels(self, pixels: NDArray[np.uint8]) -> Novelty:
        """Images that were made."""
        with torch.no_grad():
            embeddings = self.data.learner.encode(as_float(torch.from_numpy(pixels))[None])
        return self.of(embeddings, grey_levels(as_float(torch.from_numpy(pixels)).numpy()))


def area(ordinary: Novelty, novel: Novelty) -> float:
    """How well the score tells novel from ordinary."""
    scores = np.concatenate([ordinary.score, novel.score])
    truth = np.repeat([0, 1], [len(ordinary.score), len(novel.score)])
    return float(roc_auc_score(truth, scores))


def without_class(asked: AskedTask, left_out: int) -> AskedTask:
    """The task with one class fewer, its head adapted again; queries stay."""
    labels = asked.draw.support_labels
    kept = np.flatnonzero(labels != left_out)
    renamed = labels[kept] - (labels[kept] > left_out)
    embeddings = cast(torch.Tensor, asked.task.support_embeddings)[:, kept]
    support = replace(asked.task.support, inputs=embeddings, labels=torch.from_numpy(renamed)[None])
    target = replace(asked.task.target, size=asked.task.target.size - 1)
    head = cast(HeadedLearner, asked.task.learner).head.adapt(support, target)
    task = replace(
        asked.task, support=support, target=target, support_embeddings=embeddings,
        predictor=head, head_predictor=head,
    )  # fmt: skip
    classes = tuple(c for i, c in enumerate(asked.draw.classes) if i != left_out)
    draw = replace(
        asked.draw, classes=classes, support_rows=asked.draw.support_rows[kept],
        support_labels=renamed,
    )  # fmt: skip
    return AskedTask(draw, task, asked.logits, asked.labels)

"""Is an image like anything in the support? Distances, energy and plain looks, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.looks import blank, coloured, features
from medmeta.trust.results import NoveltyRule

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
KINDS = ("classes", "neighbours", "energy", "looks")
USUAL_ALARMS = 0.05
LEAST_IMAGES = 4
REASONS = {
    "classes": "far from every class of the support, in what the encoder sees",
    "neighbours": "no support image is near it",
    "energy": "it fits none of the classes",
    "looks": "its brightness, contrast, colour or sharpness is not that of the support",
}
BLANK = "it is blank: all of one grey level"
INVERTED = "its grey levels seem inverted: turned round it looks like the support"
IN_COLOUR = "it is in colour, and no support image is"
GREY = "it is grey, and all support images are in colour"
ALL_REASONS = ("", *REASONS.values(), IN_COLOUR, GREY, INVERTED, BLANK)
"""What may be said of an image, the plainer the later; the first of one that is not flagged."""


@dataclass(frozen=True)
class Seen:
    """Images as novelty takes them: embeddings ``(n, D)``, logits ``(n, K)`` and pixels.

    ``pixels`` ``(n, C, H, W)`` are grey levels 0 to 255. Logits are of predictors that have not
    learned from the image.
    """

    embeddings: Array
    logits: Array
    pixels: NDArray[np.float32]


class Shrunk:
    """Squared Mahalanobis distance to the nearest of some means, with one shrunk covariance.

    Ledoit and Wolf 2004 say how far the covariance within classes is drawn towards
    a multiple of the identity; the inverse is by Woodbury's identity, for there are far more
    dimensions than images.
    """

    def __init__(self, points: Array, labels: Numbers) -> None:
        self.means = np.stack([points[labels == k].mean(0) for k in np.unique(labels)])
        within = points - self.means[np.searchsorted(np.unique(labels), labels)]
        n, d = within.shape
        total = float(np.square(within).sum() / (n * d))
        self.level = max(total, 1e-12)
        shrinkage = 1.0
        if n > 2 and total > 1e-12:
            shrinkage = ledoit_wolf_shrinkage(within)
        self.ridge = max(shrinkage, 1e-3) * self.level
        self.root = within * np.sqrt((1 - min(shrinkage, 0.999)) / n)
        self.inner = np.linalg.inv(self.ridge * np.eye(n) + self.root @ self.root.T)

    def distances(self, points: Array) -> Array:
        """``(n,)``, per dimension, so that a usual one is about 1."""
        found = []
        for mean in self.means:
            gap = points - mean
            along = gap @ self.root.T
            squares = np.square(gap).sum(1) - np.einsum("ij,jk,ik->i", along, self.inner, along)
            found.append(squares / (self.ridge * points.shape[1]))
        return np.asarray(np.min(found, axis=0))


def ledoit_wolf_shrinkage(centred: Array) -> float:
    """How far the covariance of points ``(n, D)`` of mean 0 goes to a multiple of the identity.

    Ledoit and Wolf 2004, lemma 3.2 and its estimators; by products of points, which are few.

    >>> ledoit_wolf_shrinkage(np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    0.640625
    """
    n, d = centred.shape
    if d == 1:
        return 0.0  # one number's covariance is a multiple of the identity
    lengths = np.square(centred).sum(1)
    level = lengths.sum() / (n * d)
    squares = np.square(centred @ centred.T).sum() / n**2
    apart = squares / d - level**2
    error = (np.square(lengths).sum() / n - squares) / (d * n)
    error = min(error, apart)
    return 0.0 if error == 0 else float(error / apart)


class Detector:
    """How novel images are by each of ``KINDS``, seen from a support; fitted once.

    ``support`` needs no logits. ``hues``: whether looks are of colours too (None: where any support
    image is in colour).
    """

    def __init__(
        self,
        support: Seen,
        labels: Numbers,
        *,
        temperature: float = 1.0,
        hues: bool | None = None,
    ) -> None:
        self.support, self.temperature = support, temperature
        self.directions = _unit(support.embeddings).T
        self.classes = Shrunk(support.embeddings, labels)
        self.coloured, self.blank = coloured(support.pixels), blank(support.pixels)
        self.hues = bool(self.coloured.any()) if hues is None else hues
        one_class = np.zeros(len(labels), dtype=np.int64)
        self.looks = Shrunk(features(support.pixels, hues=self.hues), one_class)

    def look(self, pixels: NDArray[np.float32]) -> Array:
        """How far images ``(Q, C, H, W)`` look unlike the support, ``(Q,)``."""
        return self.looks.distances(features(pixels, hues=self.hues))

    def scores(self, asked: Seen) -> dict[str, Array]:
        """``(Q,)`` of each kind; larger is more novel."""
        return {
            "classes": self.classes.distances(asked.embeddings),
            "neighbours": 1 - (_unit(asked.embeddings) @ self.directions).max(1),
            "energy": -_log_sum_exp(asked.logits / self.temperature),
            "looks": self.look(asked.pixels),
        }


def held_out_scores(
    support: Seen,
    labels: Numbers,
    folds: Numbers,
    *,
    temperature: float = 1.0,
    hues: bool | None = None,
) -> dict[str, Array]:
    """Each support image's scores by the others; ``folds`` ``(n,)``, logits by other folds too."""
    found = {kind: np.zeros(len(labels)) for kind in KINDS}
    hues = bool(coloured(support.pixels).any()) if hues is None else hues
    for fold in np.unique(folds):
        held = folds == fold
        parts = [
            Seen(support.embeddings[rows], support.logits[rows], support.pixels[rows])
            for rows in (~held, held)
        ]
        detector = Detector(parts[0], labels[~held], temperature=temperature, hues=hues)
        scores = detector.scores(parts[1])
        for kind in KINDS:
            found[kind][held] = scores[kind]
    return found


def novelty_rule(scores: Mapping[str, Array]) -> NoveltyRule | None:
    """Limits by support images left out: of each kind its middle and spread, and of all the limit.

    The limit is a conformal one: of ``n`` images left out and one more, it is passed by that one
    with probability ``alarm_rate``, or somewhat more where images are few: by the same ones it is
    known what is usual. None for fewer than four images.
    """
    n = len(next(iter(scores.values())))
    if n < LEAST_IMAGES:
        return None
    limits: dict[str, float] = {}
    for kind, values in scores.items():
        middle = float(np.median(values))
        spread = float(np.quantile(values, 0.9)) - middle
        limits[f"{kind}_middle"] = middle
        limits[f"{kind}_spread"] = max(spread, 1e-3 * abs(middle), 1e-9)
    rate = max(USUAL_ALARMS, 1 / (n + 1))
    rule = NoveltyRule(limits, rate, n)
    total = np.sort(excess(rule, scores).max(0))
    place = min(n - 1, int(np.ceil((n + 1) * (1 - rate) - 1e-9)) - 1)
    return NoveltyRule({**limits, "limit": float(total[place])}, rate, n)


def excess(rule: NoveltyRule, scores: Mapping[str, Array]) -> Array:
    """``(4, Q)``: each kind's score, less what is usual, in what it usually varies by."""
    limits = rule.limits
    parts = [(scores[k] - limits[f"{k}_middle"]) / limits[f"{k}_spread"] for k in KINDS]
    found = np.stack(parts)
    return np.where(np.isfinite(found), found, 1e6)


@dataclass(frozen=True)
class Novelty:
    """Of each image ``(Q,)``: how novel (1 is the limit), whether flagged, and why (empty if not).

    ``score`` is comparable within one predictor only.
    """

    score: Array
    flagged: NDArray[np.bool_]
    reasons: tuple[str, ...]


def judge(rule: NoveltyRule, detector: Detector, asked: Seen) -> Novelty:
    """How novel images are, and a reason for each that is flagged."""
    over = excess(rule, detector.scores(asked))
    score = over.max(0) / max(rule.limits["limit"], 1e-9)
    empty = blank(asked.pixels)
    flagged = (score > 1) | (empty & ~detector.blank.any())
    score = np.where(flagged, np.maximum(score, 1 + 1e-6), score)
    reasons = [""] * len(score)
    if flagged.any():
        usual = bool(detector.coloured.any()), bool(detector.coloured.all())
        colour, inverted = coloured(asked.pixels), _inverted(rule, detector, asked, flagged)
        for i in np.flatnonzero(flagged):
            reasons[i] = _reason(
                KINDS[int(over[:, i].argmax())],
                empty=bool(empty[i]),
                inverted=bool(inverted[i]),
                colour=bool(colour[i]),
                usual=usual,
            )
    return Novelty(score, flagged, tuple(reasons))


def _reason(
    kind: str, *, empty: bool, inverted: bool, colour: bool, usual: tuple[bool, bool]
) -> str:
    if empty:
        return BLANK
    if inverted:
        return INVERTED
    if colour and not usual[0]:
        return IN_COLOUR
    if not colour and usual[1]:
        return GREY
    return REASONS[kind]


def _inverted(
    rule: NoveltyRule, detector: Detector, asked: Seen, flagged: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which flagged images look like the support once grey levels are turned round."""
    found = np.zeros(len(flagged), dtype=bool)
    middle, spread = rule.limits["looks_middle"], rule.limits["looks_spread"]
    limit = middle + max(rule.limits["limit"], 1.0) * spread
    as_is, turned = (detector.look(p) for p in (asked.pixels[flagged], 255 - asked.pixels[flagged]))
    found[flagged] = (as_is > limit) & (turned < limit) & (turned < as_is / 2)
    return found


def _log_sum_exp(logits: Array) -> Array:
    """Of the last axis ``(n, K)``: ``(n,)``."""
    most = logits.max(-1, keepdims=True)
    return np.asarray(np.log(np.exp(logits - most).sum(-1)) + most[:, 0])


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))

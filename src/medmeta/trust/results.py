"""What is found out about one learned task, as plain values: kept in a predictor's card as JSON.

A figure that is not defined is None, and a share is between 0 and 1. Support images go by their
number in the support set; whoever shows them has the pseudonyms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medmeta.errors import CheckpointError


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassFigures:
    """One class against the rest: of ``images``, of ``groups`` that share no patient."""

    name: str
    images: int
    groups: int
    sensitivity: Figure
    specificity: Figure


@dataclass(frozen=True)
class Estimate:
    """The honest figure for one task: repeated cross-validation within its support set.

    ``figures`` are ``accuracy``, ``balanced_accuracy`` and ``auroc`` of the final predictor;
    ``cross_validated`` the accuracy as counted, before ``correction`` (the share that more shots
    add, as learned on source tasks) was added. ``enough`` is False where an interval says too
    little to act on; about ``needed`` images in all would do. Where cross-validation was not
    possible at all, ``reason`` says why and there are no figures. ``soft_accuracy`` is the mean
    share of readers who agree with the answer.
    """

    images: int
    groups: int
    patients_known: bool
    chance: float
    folds: int = 0
    repeats: int = 0
    figures: Mapping[str, Figure] = field(default_factory=dict)
    by_class: tuple[ClassFigures, ...] = ()
    cross_validated: float | None = None
    correction: float = 0.0
    interval: str = ""
    enough: bool = False
    needed: int = 0
    reason: str = ""
    soft_accuracy: float | None = None


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence: how many, their mean confidence, and how many were right."""

    low: float
    high: float
    count: int
    confidence: float | None
    right: int


@dataclass(frozen=True)
class Reliability:
    """How well probabilities fit what happened, on images that were held out.

    ``ece`` is the plain estimate over equal-width bins, ``ece_debiased`` without what chance alone
    adds to it; ``brier`` is summed over classes.
    """

    bins: tuple[Bin, ...]
    ece: float | None
    ece_debiased: float | None
    brier: float | None
    log_loss: float | None


@dataclass(frozen=True)
class Calibration:
    """Probabilities are ``softmax(logits / temperature + bias)``.

    ``images`` held-out answers and a prior decided both. ``before`` and ``after`` are measured on
    images that neither the predictor nor the temperature had seen.
    """

    temperature: float
    bias: tuple[float, ...]
    images: int
    before: Reliability | None = None
    after: Reliability | None = None


@dataclass(frozen=True)
class SetCoverage:
    """Sets of one kind: what theory expects of them, and their size on the support's own images.

    ``expected`` is the coverage with as many images: at least, and in the mean of split sets.
    """

    kind: str
    level: float
    expected: tuple[float, float]
    mean_size: float | None
    guarantee: str


@dataclass(frozen=True)
class SetRule:
    """What conformal sets are made by: the fold of each support image and its score there.

    ``guarantees`` says of each kind at 90 % what holds, or that none is possible.
    """

    folds: tuple[int, ...]
    scores: tuple[float, ...]
    coverage: tuple[SetCoverage, ...]


@dataclass(frozen=True)
class NoveltyRule:
    """Limits beyond which an image is unlike the support, each from support images left out.

    ``alarm_rate`` is the share of ordinary images that is flagged, about.
    """

    limits: Mapping[str, float]
    alarm_rate: float
    images: int


@dataclass(frozen=True)
class Suspect:
    """A support image that the rest contradicts; ``doubt`` 0 to 1, the most doubtful first."""

    image: int
    given: int
    suggested: int
    probability_given: float
    probability_suggested: float
    doubt: float
    flagged: bool


@dataclass(frozen=True)
class Shortcut:
    """What a plain classifier gets from something that is not the finding."""

    name: str
    accuracy: Figure
    near: bool


@dataclass(frozen=True)
class Shortcuts:
    """All that were tried, beside the real figure; ``alarm`` where one comes near it."""

    accuracy: float | None
    tried: tuple[Shortcut, ...]
    alarm: bool
    text: str


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on one class's probability, and what it gives on held-out folds."""

    positive: str
    aim: str
    threshold: float
    sensitivity: Figure
    specificity: Figure


@dataclass(frozen=True)
class NetBenefit:
    """Decision curve at one threshold: the predictor, treating all, treating none (0)."""

    positive: str
    threshold: float
    predictor: float
    treat_all: float


@dataclass(frozen=True)
class LabelPoint:
    """Accuracy with so many images per class; ``measured`` or expected by the curve."""

    per_class: float
    accuracy: Figure
    measured: bool


@dataclass(frozen=True)
class Subgroup:
    """Accuracy on held-out images of one group; ``warning`` where it is small."""

    column: str
    name: str
    images: int
    accuracy: Figure
    warning: str


@dataclass(frozen=True)
class Decisions:
    """What a decision may be based on."""

    points: tuple[OperatingPoint, ...]
    benefit: tuple[NetBenefit, ...]
    labels: tuple[LabelPoint, ...]
    subgroups: tuple[Subgroup, ...]


@dataclass(frozen=True)
class Agreement:
    """How far several readers of the same images agree.

    ``kappas`` are Cohen's, by pair of readers; ``fleiss`` is over all. ``disputed`` are images
    without a majority for their label.
    """

    readers: tuple[str, ...]
    images: int
    kappas: Mapping[str, float | None]
    fleiss: float | None
    disputed: tuple[int, ...]


@dataclass(frozen=True)
class Trust:
    """All that is known of how far one learned task can be trusted; parts are None if not asked."""

    estimate: Estimate
    calibration: Calibration | None = None
    sets: SetRule | None = None
    novelty: NoveltyRule | None = None
    suspects: tuple[Suspect, ...] = ()
    shortcuts: Shortcuts | None = None
    decisions: Decisions | None = None
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@cache
def _reader() -> TypeAdapter[Trust]:
    """Built when something is read: it takes a while."""
    return TypeAdapter(Trust)


def trust_from_dict(held: Mapping[str, Any], *, where: str) -> Trust:
    """Read what ``to_dict`` wrote; raises ``CheckpointError`` that names the place and field."""
    try:
        return _reader().validate_python(held)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "it"
        raise CheckpointError(
            f"{where}: what it says of trust is damaged or of another version of medmeta ({name}: "
            f"{first['msg'][:1].lower()}{first['msg'][1:]}); adapt again."
        ) from None


def defined(value: float) -> float | None:
    """A number, or None where it is none.

    >>> defined(float("nan")) is None
    True
    """
    return float(value) if abs(value) < float("inf") else None


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return defined(content) if isinstance(content, float) else content

"""What a report is made of: plain data, so that a page can be drawn from anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmeta.trust.results import Trust


@dataclass(frozen=True)
class SupportContent:
    """The labelled images a predictor learned from.

    ``pixels`` uint8 ``(S, C, H, W)``, ``labels`` ``(S,)`` into the class names, ``names`` the
    pseudonym of each (``"benign #3"``), ``embeddings`` ``(S, D)``.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class QueryContent:
    """The images that were asked about.

    ``labels`` ``(Q,)`` are -1 where the truth is not known; ``probabilities`` ``(Q, K)``;
    ``nearest`` ``(Q, m)`` numbers support images, the most similar first, ``similarity`` ``(Q, m)``
    says how similar (1: the same direction in the embedding). ``names`` are pseudonyms
    (``"image 12"``): what a file is called may name a patient. ``sets`` ``(Q, K)`` says which
    classes are in each image's conformal set at ``set_level``; ``novelty`` ``(Q,)`` why an image
    is unlike the labelled ones, empty where it is not, and ``novelty_score`` ``(Q,)`` how much.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float64]
    sets: NDArray[np.bool_] | None = None
    set_level: float = 0.9
    novelty: tuple[str, ...] | None = None
    novelty_score: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ExplanationContent:
    """Maps of where some answers come from, and how they were checked.

    ``rows`` ``(E,)`` number the query images, or the support images where ``of_support``; ``maps``
    ``(E, H, W)``: above zero speaks for the answer. Areas under the curves are means, those of
    random maps beside them; ``correlation`` is that with maps by shuffled weights, NaN where not
    known; ``hand_made``: some of what the answers come from has no weights to shuffle. ``alone``:
    the answers depend on a batch, and each image was asked about by itself.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    maps: NDArray[np.float32]
    of_support: bool
    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    correlation: float
    hand_made: bool = False
    alone: bool = False


@dataclass(frozen=True)
class EvaluationContent:
    """An evaluation on many tasks: what ``Evaluation.to_dict`` gives, and what stands beside it.

    ``novelty`` is ``"new classes"`` or ``"other site"`` (class names that training also had, from
    another source); ``baselines`` maps a name (``"chance"``, ``"ridge on raw pixels"``) to the
    mean accuracy on the same tasks.
    """

    evaluation: Mapping[str, Any]
    novelty: str
    baselines: Mapping[str, float]


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows; what is None or empty is left out of the page.

    ``learner`` says in words what learned (``"Prototypical Networks on conv4"``). ``curve`` holds
    the lines of the training log (``step``, ``loss``, ``validation``). ``shifts`` are what
    ``medmeta evaluate --shift`` kept. ``data_notes`` and
    ``warnings`` are sentences for the reader; ``provenance`` name–value pairs (versions, seed,
    hashes, the command). ``trust`` is what was found out about the task when it was adapted to,
    and ``language`` one of ``words.LANGUAGES``, in which the sentences are.
    """

    title: str
    learner: str
    class_names: tuple[str, ...]
    support: SupportContent | None = None
    query: QueryContent | None = None
    evaluations: Sequence[EvaluationContent] = ()
    shifts: Sequence[Mapping[str, Any]] = ()
    curve: Sequence[Mapping[str, Any]] = ()
    training_sources: Sequence[Mapping[str, Any]] = ()
    data_notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    trust: Trust | None = None
    explanation: ExplanationContent | None = None
    kind: str = "predictor"
    language: str = "en"

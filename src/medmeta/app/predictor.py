"""One learned task, ready to be asked: its answers, and the support images they are near to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from medmeta.app.trusted_answers import TrustedAnswers
from medmeta.data.preprocess import Preprocessing
from medmeta.data.standardise import Levels
from medmeta.episode import Inputs, any_tensor, joined_inputs, map_inputs
from medmeta.episodes.views import inputs_of, normalised
from medmeta.errors import SettingsError
from medmeta.evaluation.cores import side_by_side
from medmeta.evaluation.encoded import batch_size, encodes_apart
from medmeta.evaluation.metrics import softmax
from medmeta.learner import AdaptedTask, HeadedLearner
from medmeta.storage import save_folder
from medmeta.training.checkpoint import WEIGHTS, tensors_to_bytes
from medmeta.trust.calibration import calibrated
from medmeta.trust.results import Trust, trust_from_dict

SUPPORT = "support.safetensors"
NEAREST = 3
Beside = Mapping[str, NDArray[np.float32]]
NOTHING: Beside = MappingProxyType({})


@dataclass(frozen=True)
class Answers:
    """Answers for ``Q`` images.

    ``outputs`` ``(Q, K)`` are class probabilities, or values. ``nearest`` ``(Q, m)`` numbers the
    support images that are most alike in the embedding (in the logits, for a learner without one),
    ``similarity`` ``(Q, m)`` is their cosine. ``learned_from`` ``(Q,)``: which are support images.
    ``novelty`` ``(Q,)`` is above 1 for what is unlike the support, ``reason`` ``(Q,)`` says why
    (a number of ``ALL_REASONS``), ``sets`` ``(Q, K)`` are the classes that may be: where asked for.
    """

    outputs: NDArray[np.float64]
    nearest: NDArray[np.int64]
    similarity: NDArray[np.float64]
    learned_from: NDArray[np.bool_]
    novelty: NDArray[np.float64] | None = field(default=None, kw_only=True)
    reason: NDArray[np.int64] | None = field(default=None, kw_only=True)
    sets: NDArray[np.bool_] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Predictions(Answers):
    """Answers with the ``embeddings`` ``(Q, D)`` of the images."""

    embeddings: NDArray[np.float32]


AnyAnswers = TypeVar("AnyAnswers", bound=Answers)


@dataclass(frozen=True)
class SavedPredictor:
    """One learned task, ready to be asked and to be saved.

    ``pixels`` uint8 ``(S, C, *space)`` are the prepared support images, ``beside`` float32
    ``(S, D)`` by name what is known of each besides. Support images are called
    by class and number (``"benign #3"``), since a file's name may name a patient. With a
    ``set_level`` answers hold sets of classes too.
    """

    task: AdaptedTask
    card: Mapping[str, Any]
    pixels: NDArray[np.uint8]
    beside: Beside = field(default_factory=dict)
    set_level: float | None = None
    set_by_class: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities; empty for values."""
        return tuple(self.card["class_names"])

    @property
    def preprocessing(self) -> Preprocessing:
        """How images must be prepared."""
        return Preprocessing.model_validate(self.card["preprocessing"])

    @property
    def support_labels(self) -> NDArray[Any]:
        """Class numbers ``(S,)``, or values ``(S, 1)``."""
        return self.task.support.labels[0].numpy()

    @property
    def support_names(self) -> tuple[str, ...]:
        """Pseudonyms of the support images."""
        if not self.class_names:
            return tuple(f"image #{i + 1}" for i in range(len(self.pixels)))
        count: Counter[int] = Counter()
        names = []
        for label in self.support_labels:
            count[int(label)] += 1
            names.append(f"{self.class_names[int(label)]} #{count[int(label)]}")
        return tuple(names)

    @cached_property
    def support_embeddings(self) -> NDArray[np.float32]:
        """What nearest images are found by, ``(S, D)``."""
        if self.task.support_embeddings is not None:
            return self.task.support_embeddings[0].numpy()
        return self._raw(self.task.support.inputs)[1]

    @property
    def batch_size(self) -> int:
        """How many images are best asked about at once."""
        return batch_size(self.pixels.shape[2:])

    def learned_from(
        self, pixels: NDArray[np.uint8], beside: Beside = NOTHING
    ) -> NDArray[np.bool_]:
        """Which of some prepared images ``(Q, C, *space)`` are support images, ``(Q,)``."""
        found = [content in self._known for content in _contents(pixels, beside)]
        return np.array(found, dtype=bool)

    def grey_table(self, group: str | None) -> NDArray[np.uint8] | None:
        """What the grey levels ``(256,)`` of images of a group become before they are answered.

        None for a predictor that takes them as they are. Raises ``SettingsError`` where it brings
        groups together and ``group`` is none that its support had, or the other way round.
        """
        held = self.card.get("standardise")
        if held is None:
            if group is not None:
                raise SettingsError(
                    "--group goes with a predictor that was adapted with --standardise; this one "
                    "takes grey levels as they are."
                )
            return None
        levels = Levels.from_dict(held)
        if group is not None and group in levels.groups:
            return levels.table(group)
        known = ", ".join(sorted(levels.groups))
        if group is None:
            raise SettingsError(
                f"this predictor brings grey levels together by {levels.column}: say of which the "
                f"images are, --group one of {known}."
            )
        raise SettingsError(
            f"--group {group}: the support had no image of it, so its grey levels cannot be "
            f"brought together with the others'; known are {known}. Adapt again with a few "
            "labelled images of it."
        )

    def predict(self, pixels: NDArray[np.uint8], beside: Beside = NOTHING) -> Predictions:
        """Answer prepared images uint8 ``(Q, C, *space)``, with what is known besides."""
        learner = self.task.learner
        together, size = learner.traits.transductive, self.batch_size
        if together and not encodes_apart(learner):
            size = max(1, len(pixels))
        parts = [
            (pixels[part], {name: values[part] for name, values in beside.items()})
            for part in (slice(first, first + size) for first in range(0, len(pixels), size))
        ]
        if together and parts:  # one answer for all, whether or not they are embedded in parts
            whole = reduce(joined_inputs, (self.embed(*part) for part in parts))
            return self.answer(pixels, whole, beside)
        if self.task.head_predictor is None:
            return joined(Predictions, [self.answer(p, self.embed(p, k), k) for p, k in parts])
        embedded = side_by_side(lambda part: self.embed(*part), parts)
        answers = [self.answer(p, e, k) for (p, k), e in zip(parts, embedded, strict=True)]
        return joined(Predictions, answers)

    def embed(self, pixels: NDArray[np.uint8], beside: Beside = NOTHING) -> Inputs:
        """Prepared images ``(q, C, *space)`` as far as the task does not matter: ``(1, q, ...)``.

        Their embeddings, or as floats for a learner without. Threads may do so at the same time.
        """
        inputs = as_inputs(pixels, beside)
        if self.task.head_predictor is None:
            return inputs
        with torch.no_grad():
            return cast(HeadedLearner, self.task.learner).encode(inputs)

    def answer(
        self, pixels: NDArray[np.uint8], embedded: Inputs, beside: Beside = NOTHING
    ) -> Predictions:
        """Answer images by what ``embed`` made of them."""
        raw, likeness = self._raw(embedded)
        outputs = raw.astype(np.float64)
        cosine = _unit(likeness) @ self._support_directions
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEAREST]
        told = self._trusted.told(embedded, outputs, likeness, pixels) if self._trusted else {}
        return Predictions(
            outputs=self.probabilities(outputs) if self.class_names else outputs,
            nearest=nearest,
            similarity=np.take_along_axis(cosine, nearest, 1),
            learned_from=self.learned_from(pixels, beside),
            embeddings=likeness,
            **told,
        )

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of logits ``(Q, K)``; calibrated by the support, where that was done."""
        held = self.trust.calibration if self.trust else None
        if held is None:
            return softmax(logits)
        return calibrated(logits, held.temperature, held.bias)

    @cached_property
    def trust(self) -> Trust | None:
        """What ``medmeta adapt`` found out about it; None where that was skipped."""
        held = self.card.get("trust")
        return None if held is None else trust_from_dict(held, where="the predictor's card")

    @cached_property
    def _trusted(self) -> TrustedAnswers | None:
        if self.trust is None or not self.class_names:
            return None
        return TrustedAnswers(
            self.task, self.trust, self.support_embeddings, self.pixels,
            level=self.set_level, per_class=self.set_by_class,
        )  # fmt: skip

    def _raw(self, embedded: Inputs) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Logits or values ``(q, K)``, and what nearest images are found by ``(q, D)``."""
        with torch.no_grad():
            if self.task.head_predictor is not None:
                likeness = any_tensor(embedded)[0].numpy()
                return self.task.head_predictor(embedded)[0].numpy(), likeness
            raw = self.task.predictor(embedded)[0].numpy()
        return raw, raw - raw.mean(1, keepdims=True) if self.class_names else raw

    def save(self, folder: Path) -> str:
        """Save as a folder; returns the SHA-256 of its card, for ``--expect-sha256``.

        Raises ``StorageError`` where the disk refuses or the folder is there already.
        """
        support = {
            "pixels": torch.from_numpy(self.pixels),
            "labels": self.task.support.labels[0],
            **{name: torch.from_numpy(values) for name, values in self.beside.items()},
        }
        weights = tensors_to_bytes(self.task.learner.state_dict())
        parts = {WEIGHTS: weights, SUPPORT: tensors_to_bytes(support)}
        return save_folder(folder, self.card, parts)

    @cached_property
    def _known(self) -> frozenset[bytes]:
        return frozenset(_contents(self.pixels, self.beside))

    @cached_property
    def _support_directions(self) -> NDArray[np.float64]:
        return _unit(self.support_embeddings).T


def as_inputs(pixels: NDArray[np.uint8], beside: Beside) -> Inputs:
    """Images ``(n, C, *space)`` and what is known besides as the inputs of one task."""
    return map_inputs(lambda x: x[None], normalised(inputs_of(pixels.copy(), beside)))


def _contents(pixels: NDArray[np.uint8], beside: Beside) -> list[bytes]:
    """What tells one input from another."""
    return [
        b"".join([image.tobytes(), *(values[row].tobytes() for values in beside.values())])
        for row, image in enumerate(pixels)
    ]


def joined(kind: type[AnyAnswers], parts: Sequence[AnyAnswers]) -> AnyAnswers:
    """Answers that came in parts, with the columns of this kind."""
    columns = [c.name for c in fields(kind) if getattr(parts[0], c.name) is not None]
    return kind(**{c: np.concatenate([getattr(part, c) for part in parts]) for c in columns})


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float64)
